//! The fleet: what servers there are.

use std::str::FromStr;

use serde::Serialize;

use super::InputError;
use super::reader::{Complaints, Fields};
use crate::units::Mem;

/// What a server may become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whatever pays.
    #[default]
    Any,
    /// A whole Node.
    Metal,
    /// A host of VMs.
    Vm,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Servers of one class are bought alike.
    pub class: String,
    /// Rack or failure domain.
    pub rack: String,
    /// CPUs that the kernel sees.
    pub threads: i64,
    /// NUMA nodes; threads, memory and GPUs lie evenly on them.
    pub numa_nodes: i64,
    /// Memory.
    pub memory: Mem,
    /// Disk for VMs; `None` when it is not to be counted.
    pub disk: Option<Mem>,
    /// GPUs.
    pub gpus: i64,
    /// Network ports, and what they carry together in Gbit/s.
    pub nics: i64,
    /// Gbit/s.
    pub nic_gbits: f64,
    /// Cost a month, in any currency.
    pub price: f64,
    /// Watts under load.
    pub power: f64,
    /// What it may become.
    pub role: Role,
}

/// All servers, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fleet {
    /// Sorted by name; names are unique.
    pub hosts: Vec<Host>,
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        match text {
            "any" => Ok(Role::Any),
            "metal" => Ok(Role::Metal),
            "vm" => Ok(Role::Vm),
            _ => Err(format!("{text:?} is none of any, metal, vm")),
        }
    }
}

/// Reads a fleet from YAML (`hosts:` list) or CSV (one row a host or group of hosts).
pub fn parse_fleet(file: &str, text: &str) -> Result<Fleet, Vec<InputError>> {
    let mut complaints = Complaints::of(file);
    let Some(document) = super::document(file, text, "hosts", &mut complaints) else {
        return complaints.verdict(Fleet::default());
    };
    let mut fields = Fields::of(&document, "", &mut complaints);
    fields.node("apiVersion");
    fields.node("kind");
    let mut hosts: Vec<(Host, u64, String)> = Vec::new();
    let entries = fields.list("hosts", &mut complaints);
    if entries.is_empty() && complaints.errors.is_empty() {
        complaints.add(fields.line(), "hosts", "lists no host");
    }
    for (node, path) in entries {
        let entry = Fields::of(&node, &path, &mut complaints);
        let line = entry.line();
        hosts.extend(read_hosts(entry, &mut complaints).into_iter().map(|h| (h, line, path.clone())));
    }
    fields.finish(&mut complaints);
    hosts.sort_by(|a, b| natural(&a.0.name).cmp(&natural(&b.0.name)).then(a.1.cmp(&b.1)));
    for pair in hosts.windows(2).filter(|p| p[0].0.name == p[1].0.name) {
        let message = format!("host {:?} is already defined on line {}", pair[1].0.name, pair[0].1);
        complaints.add(pair[1].1, &format!("{}.name", pair[1].2), message);
    }
    complaints.verdict(Fleet { hosts: hosts.into_iter().map(|(h, _, _)| h).collect() })
}

/// A name cut into texts and numbers, so that `r2` comes before `r10`.
pub(crate) fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| text + n);
        parts.push((rest[..text].to_owned(), rest[text..digits].parse().unwrap_or(0)));
        rest = &rest[digits..];
    }
    parts
}

/// One entry may stand for `count` hosts: `name: r1-{}` or `name: r1` (numbered), over one or several racks in turn.
fn read_hosts(mut f: Fields<'_>, c: &mut Complaints) -> Vec<Host> {
    let name = f.text("name", c);
    let name = f.need(name, "name", c);
    let count = f.int("count", 1, 200_000, c).unwrap_or(1);
    let class = f.text("class", c);
    let racks = f.texts("racks", c, |t| Ok(t.to_owned()));
    let rack = f.text("rack", c);
    let cores = f.int("cores", 1, 4096, c);
    let threads = f.int("threads", 1, 8192, c);
    let threads = threads.or(cores);
    f.need(threads, "cores", c);
    if let (Some(cores), Some(threads)) = (cores, threads)
        && (threads < cores || threads % cores != 0)
    {
        c.add(f.line(), &f.path("threads"), format!("{threads} threads do not go evenly on {cores} cores"));
    }
    let numa_nodes = f.int("numaNodes", 1, 16, c).unwrap_or(1);
    let memory = f.mem("memory", c);
    let memory = f.need(memory, "memory", c);
    let disk = f.mem("disk", c);
    let gpus = f.int("gpus", 0, 64, c).unwrap_or(0);
    let nics = f.int("nics", 0, 64, c).unwrap_or(0);
    let nic_gbits = f.number("nicGbits", 0.0, 1e5, c).unwrap_or(0.0);
    let price = f.number("price", 0.0, 1e9, c).unwrap_or(0.0);
    let power = f.number("power", 0.0, 1e6, c).unwrap_or(0.0);
    let role = f.read("role", c, Role::from_str).unwrap_or_default();
    if rack.is_some() && !racks.is_empty() {
        c.add(f.line(), &f.path("racks"), "rack and racks are both given");
    }
    let racks = if racks.is_empty() { vec![rack.unwrap_or_else(|| "default".to_owned())] } else { racks };
    f.finish(c);
    let (Some(name), Some(threads), Some(memory)) = (name, threads, memory) else { return Vec::new() };
    let width = count.to_string().len().max(2);
    (0..count)
        .map(|i| Host {
            name: match (count, name.contains("{}")) {
                (_, true) => name.replace("{}", &format!("{:0width$}", i + 1)),
                (1, false) => name.clone(),
                _ => format!("{name}-{:0width$}", i + 1),
            },
            class: class.clone().unwrap_or_else(|| match gpus {
                0 => format!("{threads}t-{memory}"),
                _ => format!("{threads}t-{memory}-{gpus}gpu"),
            }),
            rack: racks[i as usize % racks.len()].clone(),
            threads,
            numa_nodes,
            memory,
            disk,
            gpus,
            nics,
            nic_gbits,
            price,
            power,
            role,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_stands_for_its_hosts() {
        let text = "hosts:\n- {name: big, count: 3, cores: 64, threads: 128, memory: 1Ti, racks: [a, b]}\n";
        let fleet = parse_fleet("f.yaml", text).unwrap();
        let names: Vec<_> = fleet.hosts.iter().map(|h| (h.name.as_str(), h.rack.as_str())).collect();
        assert_eq!(names, [("big-01", "a"), ("big-02", "b"), ("big-03", "a")]);
        let csv = "name,count,cores,threads,memory,racks\nbig,3,64,128,1Ti,\"a,b\"\n";
        assert_eq!(parse_fleet("f.csv", csv).unwrap(), fleet);
    }

    #[test]
    fn every_complaint_at_once_with_line_and_field() {
        let text = "hosts:\n- name: a\n  cores: 0\n  memory: lots\n- name: b\n  cores: 4\n  thraeds: 8\n- {name: c, cores: 4, memory: 4Gi}\n- {name: c, cores: 4, memory: 4Gi}\n";
        let errors: Vec<String> =
            parse_fleet("f.yaml", text).unwrap_err().iter().map(|e| e.to_string()).collect();
        assert_eq!(
            errors,
            [
                "f.yaml:3: hosts[0].cores: 0 is not within 1 to 4096",
                "f.yaml:4: hosts[0].memory: \"lots\" is no quantity such as 512Mi or 4Gi",
                "f.yaml:5: hosts[1].memory: is missing",
                "f.yaml:7: hosts[1].thraeds: unknown field; did you mean threads?",
                "f.yaml:9: hosts[3].name: host \"c\" is already defined on line 8",
            ]
        );
    }

    #[test]
    fn numbers_in_names_sort_as_numbers() {
        let mut names = vec!["r10-1", "r2-11", "r2-2", "a"];
        names.sort_by_key(|n| natural(n));
        assert_eq!(names, ["a", "r2-2", "r2-11", "r10-1"]);
    }
}
