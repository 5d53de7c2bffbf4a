//! A Helm chart of what is installed. In: [`Options`], which become its values. Out: files. The templates are the very objects
//! that are applied otherwise, with what hangs on a choice as Helm says it. Pure.

use crate::anywhere::{Options, Parts};
use crate::etcd::EtcdConfig;
use crate::manager::{NODE_FOLDER, WEBHOOK_SECRET};
use crate::parts::{Given, Part, When, read};
use crate::{InstallError, LAUNCHER, ManagerConfig, SCUTE, VERSION};
use scute_api::engines::ENGINES;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is shorter stands on one line.
const LINE: usize = 100;

/// The files of a chart, by their path in it.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Texts.
    pub files: BTreeMap<&'static str, String>,
}

impl Chart {
    /// Renders it; it can do all that the command can, and does what these options say unless its user says otherwise.
    ///
    /// # Errors
    /// When the configuration cannot be written as text.
    pub fn of(options: &Options) -> Result<Self, InstallError> {
        let Parts { mut definitions, objects, webhooks, monitoring } = Parts::all()?;
        definitions.iter_mut().for_each(keep);
        Ok(Self {
            files: BTreeMap::from([
                ("Chart.yaml", about()),
                ("values.yaml", values(options)?),
                ("values.schema.json", schema()),
                ("templates/_helpers.tpl", helpers()),
                // Helm keeps the chart and what it rendered in one Secret, which has a limit: as short as they can be.
                ("templates/definitions.yaml", documents(&definitions, usize::MAX)?),
                ("templates/manager.yaml", documents(&objects, LINE)?),
                ("templates/webhooks.yaml", documents(&webhooks, LINE)?),
                ("templates/monitoring.yaml", documents(&monitoring, LINE)?),
            ]),
        })
    }
}

/// With a definition go all objects of its kind: Helm leaves it when the release is taken away.
fn keep(part: &mut Value) {
    match part.get_mut("$then") {
        Some(then) => keep(then),
        None => part["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into(),
    }
}

fn about() -> String {
    let version = json!(VERSION);
    format!(
        "apiVersion: v2\nname: scute\ntype: application\nversion: {version}\nappVersion: {version}\n\
         description: Cuts bare-metal servers into Kubernetes clusters\n"
    )
}

/// A field that only the chart fills in.
const OWN: [&str; 5] = ["without", "scuteImage", "launcherImage", "webhookSecret", "webhookCertificates"];

fn values(options: &Options) -> Result<String, InstallError> {
    // A chart is for whatever namespace its release is in.
    let Options { configuration, replicas, registry, namespace: _, monitoring } = options;
    let malformed = |error: String| InstallError::Malformed(error);
    let ManagerConfig { without, .. } = configuration;
    let mut told = serde_json::to_value(configuration).map_err(|error| malformed(error.to_string()))?;
    if let Some(told) = told.as_object_mut() {
        told.retain(|field, _| !OWN.contains(&field.as_str()));
    }
    let told = serde_saphyr::to_string(&json!({"configuration": told}));
    let told = told.map_err(|error| malformed(error.to_string()))?;
    let (registry, without) = (json!(registry), json!(without));
    Ok(format!(
        "# Managers, 1 to 9: one works, the others take over.\n\
         replicas: {replicas}\n\
         # Where Scute's images are, without the last part of their names.\n\
         registry: {registry}\n\
         # Engines that are off, as upstream projects do their work: clusterapi, kubeadm, kamaji, kubevirt, metal3.\n\
         without: {without}\n\
         # Whether the CustomResourceDefinitions are of the release; `scute crds` prints them for those who apply them by\n\
         # other means.\n\
         definitions: true\n\
         # Whether Prometheus and Grafana are told: a ServiceMonitor, a PrometheusRule and a board. Needs the Prometheus\n\
         # operator's kinds.\n\
         monitoring: {monitoring}\n\
         # The manager's configuration, as `scute manager --config` reads it.\n\
         {told}"
    ))
}

fn schema() -> String {
    let own = OWN.map(|field| (field.to_owned(), Value::Bool(false)));
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "required": ["replicas", "registry", "without", "definitions", "monitoring", "configuration"],
        "properties": {
            // What Helm itself may put there.
            "global": {"type": "object"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 9},
            "registry": {"type": "string", "minLength": 1},
            "without": {
                "type": "array",
                "uniqueItems": true,
                "maxItems": ENGINES.len() - 1,
                "items": {"enum": ENGINES.map(|engine| engine.as_str())},
            },
            "definitions": {"type": "boolean"},
            "monitoring": {"type": "boolean"},
            "configuration": {"type": "object", "properties": serde_json::Map::from_iter(own)},
        },
    });
    format!("{schema:#}\n")
}

fn helpers() -> String {
    let image = |name: &str| format!("(printf \"%s/{name}:{VERSION}\" .Values.registry)");
    let (scute, launcher) = (image(SCUTE), image(LAUNCHER));
    format!(
        "{{{{- /* The manager's configuration, with what the chart knows. */ -}}}}\n\
         {{{{- define \"scute.configuration\" -}}}}\n\
         {{{{- $own := dict \"scuteImage\" {scute} \"launcherImage\" {launcher} \"webhookSecret\" \"{WEBHOOK_SECRET}\" -}}}}\n\
         {{{{- if .Values.without }}}}{{{{ $_ := set $own \"without\" .Values.without }}}}{{{{ end -}}}}\n\
         {{{{- mergeOverwrite (deepCopy .Values.configuration) $own | toPrettyJson -}}}}\n\
         {{{{- end -}}}}\n\
         {{{{- /* Not empty where the disk of Nodes is among what servers are given. */ -}}}}\n\
         {{{{- define \"scute.nodeDisk\" -}}}}\n\
         {{{{- with .Values.configuration.metal }}}}{{{{ range .images }}}}\
         {{{{ if hasPrefix \"{NODE_FOLDER}/\" . }}}}yes{{{{ end }}}}{{{{ end }}}}{{{{ end -}}}}\n\
         {{{{- end -}}}}\n"
    )
}

fn documents(parts: &[Value], wide: usize) -> Result<String, InstallError> {
    let mut lines = Vec::new();
    for part in parts {
        document(part, wide, &mut lines)?;
    }
    Ok(lines.join("\n") + "\n")
}

fn document(part: &Value, wide: usize, lines: &mut Vec<String>) -> Result<(), InstallError> {
    match read(part)? {
        Part::When(when, then, None) => {
            lines.push(format!("{{{{- if {} }}}}", condition(when)));
            document(then, wide, lines)?;
            lines.push("{{- end }}".to_owned());
        }
        Part::Map(map) => {
            lines.push("---".to_owned());
            for (key, value) in map {
                entry(&format!("{key}:"), value, 0, wide, lines)?;
            }
        }
        _ => return Err(InstallError::Malformed(part.to_string())),
    }
    Ok(())
}

/// One entry of a map or a list, with `key:` or `-` before it.
fn entry(
    before: &str,
    value: &Value,
    indent: usize,
    wide: usize,
    lines: &mut Vec<String>,
) -> Result<(), InstallError> {
    let blanks = " ".repeat(indent);
    let text = literal(value);
    let short = !text.contains(MARKS[0]) && !text.contains(MARKS[1]) && text.len() <= wide;
    match read(value)? {
        Part::When(when, then, or) => {
            lines.push(format!("{{{{- if {} }}}}", condition(when)));
            entry(before, then, indent, wide, lines)?;
            if let Some(or) = or {
                lines.push("{{- else }}".to_owned());
                entry(before, or, indent, wide, lines)?;
            }
            lines.push("{{- end }}".to_owned());
        }
        Part::Given(given) => lines.push(format!("{blanks}{before} {}", expression(&given))),
        Part::List(list) if !short => {
            lines.push(format!("{blanks}{before}"));
            list.iter().try_for_each(|item| entry("-", item, indent + 2, wide, lines))?;
        }
        Part::Map(map) if !short => {
            let at = lines.len();
            lines.push(format!("{blanks}{before}"));
            for (key, value) in map {
                entry(&format!("{key}:"), value, indent + 2, wide, lines)?;
            }
            // The first field beside the dash, unless a condition is before it.
            if before == "-" && lines.get(at + 1).is_some_and(|first| !first.starts_with("{{")) {
                let first = lines.remove(at + 1);
                lines[at] = format!("{blanks}- {}", first.trim_start());
            }
        }
        Part::List(_) | Part::Map(_) | Part::Plain(_) => lines.push(format!("{blanks}{before} {text}")),
    }
    Ok(())
}

const MARKS: [&str; 2] = ["\"$when\":", "\"$given\":"];

/// JSON, which is YAML, of which Helm makes nothing.
fn literal(value: &Value) -> String {
    value.to_string().replace("{{", "{{ \"{{\" }}")
}

fn condition(when: When) -> String {
    match when {
        When::On(engine) => format!("not (has \"{engine}\" .Values.without)"),
        When::Off(engine) => format!("has \"{engine}\" .Values.without"),
        When::Several => "gt (int .Values.replicas) 1".to_owned(),
        When::Metal => ".Values.configuration.metal".to_owned(),
        When::NodeDisk => "include \"scute.nodeDisk\" .".to_owned(),
        When::Definitions => ".Values.definitions".to_owned(),
        When::Monitoring => ".Values.monitoring".to_owned(),
        When::Etcd => "hasKey .Values.configuration \"etcd\"".to_owned(),
        When::EtcdStorageClass => ".Values.configuration.etcd.storageClass".to_owned(),
    }
}

fn expression(given: &Given) -> String {
    let port = |name: &str, otherwise: u16| {
        format!("{{{{ .Values.configuration.metal.{name} | default {otherwise} | int }}}}")
    };
    let etcd = |name: &str, otherwise: &str| {
        format!("{{{{ .Values.configuration.etcd.{name} | default \"{otherwise}\" | quote }}}}")
    };
    match given {
        Given::Namespace => "{{ .Release.Namespace | quote }}".to_owned(),
        Given::Replicas => "{{ int .Values.replicas }}".to_owned(),
        Given::Image(name, tag) => {
            format!("{{{{ printf \"%s/{name}:{tag}\" .Values.registry | quote }}}}")
        }
        Given::Configuration => "{{ include \"scute.configuration\" . | toJson }}".to_owned(),
        Given::ConfigurationSum => {
            "{{ include \"scute.configuration\" . | sha256sum | trunc 16 | quote }}".to_owned()
        }
        Given::ServicePort => port("servicePort", crate::manager_config::service_port()),
        Given::MediaPort => port("mediaPort", crate::manager_config::media_port()),
        Given::EtcdMembers => {
            let EtcdConfig { members, .. } = EtcdConfig::default();
            format!("{{{{ .Values.configuration.etcd.members | default {members} | int }}}}")
        }
        Given::EtcdStorage => etcd("storage", &EtcdConfig::default().storage),
        Given::EtcdStorageClass => etcd("storageClass", ""),
        Given::EtcdImage => etcd("image", &EtcdConfig::default().image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::{either, given, when};
    use scute_api::engines::Engine;

    #[test]
    fn parts_are_what_helm_makes_objects_of() {
        let object = json!({
            "kind": "Thing",
            "list": [when(When::On(Engine::Kamaji), json!({"a": given(&Given::Replicas)})), {"b": {"c": "{{ x }}"}}],
            "one": either(When::Several, json!("more"), json!("less")),
        });
        let text = documents(&[when(When::Metal, object)], LINE).unwrap();
        let wanted = "{{- if .Values.configuration.metal }}\n---\nkind: \"Thing\"\nlist:\n\
            {{- if not (has \"kamaji\" .Values.without) }}\n  - a: {{ int .Values.replicas }}\n{{- end }}\n  \
            - {\"b\":{\"c\":\"{{ \"{{\" }} x }}\"}}\n{{- if gt (int .Values.replicas) 1 }}\none: \"more\"\n{{- else }}\n\
            one: \"less\"\n{{- end }}\n{{- end }}\n";
        assert_eq!(text, wanted);
        assert!(documents(&[json!(1)], LINE).is_err());
    }

    #[test]
    fn the_values_are_what_the_command_was_told() {
        let configuration =
            ManagerConfig { without: vec![Engine::Metal3], site: "lab".into(), ..ManagerConfig::default() };
        let options = Options {
            configuration,
            replicas: 3,
            registry: "r.example/s".into(),
            namespace: "n".into(),
            monitoring: true,
        };
        let chart = Chart::of(&options).unwrap();
        let values: Value = serde_saphyr::from_str(&chart.files["values.yaml"]).unwrap();
        assert_eq!((&values["replicas"], &values["registry"]), (&json!(3), &json!("r.example/s")));
        assert_eq!(values["monitoring"], json!(true));
        assert_eq!(
            (&values["without"], &values["configuration"]["site"]),
            (&json!(["metal3"]), &json!("lab"))
        );
        assert!(OWN.iter().all(|field| values["configuration"].get(field).is_none()));
    }
}
