//! The labs of the talk, rebuilt with their faults: each must be named, and a clean lab must be silent.

use scute_plan::lint::{Finding, Level, Objects, lint, read, sarif};

fn findings(text: &str) -> Vec<Finding> {
    let mut objects = Objects::default();
    read("lab.yaml", text, &mut objects).unwrap();
    lint(&objects)
}

fn errors(text: &str) -> Vec<String> {
    findings(text)
        .into_iter()
        .filter(|f| f.level == Level::Error)
        .map(|f| format!("{}: {}", f.rule, f.message))
        .collect()
}

/// Real servers: management endpoint .151 by kube-vip, machines .152-.159, MetalLB .150-.159, tenant endpoint .150.
const BML: &str = r#"
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: mgmt}
spec:
  clusterNetwork: {pods: {cidrBlocks: [192.168.64.0/18]}, services: {cidrBlocks: [10.96.0.0/12]}}
  controlPlaneRef: {apiGroup: controlplane.cluster.x-k8s.io, kind: KubeadmControlPlane, name: mgmt}
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: Metal3Cluster, name: mgmt}
---
apiVersion: controlplane.cluster.x-k8s.io/v1beta2
kind: KubeadmControlPlane
metadata: {name: mgmt}
spec: {replicas: 1, version: v1.33.1}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
kind: Metal3Cluster
metadata: {name: mgmt}
spec: {controlPlaneEndpoint: {host: 192.168.0.151, port: 6443}}
---
apiVersion: ipam.metal3.io/v1alpha1
kind: IPPool
metadata: {name: internal}
spec: {clusterName: mgmt, pools: [{start: 192.168.0.152, end: 192.168.0.159, prefix: 24}]}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: lb, namespace: metallb-system}
spec: {addresses: [192.168.0.150-192.168.0.159]}
---
apiVersion: ironic.metal3.io/v1alpha1
kind: Ironic
metadata: {name: ironic}
spec: {networking: {ipAddress: 192.168.0.100, dhcp: {rangeBegin: 192.168.0.200, rangeEnd: 192.168.0.220}}}
"#;

/// Development: DHCP .5-.199 covers the endpoint .100 and the pool .150-.200.
const DEV: &str = r#"
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: mgmt}
spec:
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: Metal3Cluster, name: mgmt}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
kind: Metal3Cluster
metadata: {name: mgmt}
spec: {controlPlaneEndpoint: {host: 192.168.222.100, port: 6443}}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: lb, namespace: metallb-system}
spec: {addresses: [192.168.222.150-192.168.222.200]}
---
apiVersion: ironic.metal3.io/v1alpha1
kind: Ironic
metadata: {name: ironic}
spec: {networking: {ipAddress: 192.168.222.2, dhcp: {rangeBegin: 192.168.222.5, rangeEnd: 192.168.222.199}}}
"#;

/// A hosted tenant on VMs.
const TENANT: &str = r#"
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: kv}
spec:
  clusterNetwork: {pods: {cidrBlocks: [10.243.0.0/16]}, services: {cidrBlocks: [10.95.0.0/16]}}
  controlPlaneRef: {apiGroup: controlplane.cluster.x-k8s.io, kind: KamajiControlPlane, name: kv}
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: KubevirtCluster, name: kv}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1
kind: KubevirtCluster
metadata: {name: kv}
spec: {controlPlaneEndpoint: {host: 192.168.0.171, port: 6443}}
---
apiVersion: controlplane.cluster.x-k8s.io/v1alpha1
kind: KamajiControlPlane
metadata: {name: kv}
spec:
  dataStoreName: default
  network: {serviceType: LoadBalancer, serviceAnnotations: {metallb.io/loadBalancerIPs: "192.168.0.171"}}
  deployment:
  version: 1.33.4
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: lb, namespace: metallb-system}
spec: {addresses: [192.168.0.170-192.168.0.179]}
---
apiVersion: bootstrap.cluster.x-k8s.io/v1beta2
kind: KubeadmConfigTemplate
metadata: {name: kv}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1
kind: KubevirtMachineTemplate
metadata: {name: kv}
spec: {template: {spec: {virtualMachineTemplate: {spec: {template: {spec: {domain: {cpu: {cores: 2}, memory: {guest: 4Gi}}}}}}}}}
---
apiVersion: cluster.x-k8s.io/v1beta2
kind: MachineDeployment
metadata: {name: kv}
spec:
  clusterName: kv
  replicas: 1
  selector: {matchLabels: null}
  template:
    spec:
      clusterName: kv
      version: v1.33.4
      bootstrap: {configRef: {apiGroup: bootstrap.cluster.x-k8s.io, kind: KubeadmConfigTemplate, name: kv}}
      infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: KubevirtMachineTemplate, name: kv}
"#;

#[test]
fn the_lab_of_real_servers_is_caught() {
    let found = errors(BML);
    let wants = |text: &str| assert!(found.iter().any(|f| f.contains(text)), "{text}: {found:#?}");
    wants(
        "the LoadBalancer addresses of IPAddressPool metallb-system/lb (192.168.0.150-192.168.0.159) and the servers' addresses of \
         IPPool default/internal (192.168.0.152-192.168.0.159) share 192.168.0.152-192.168.0.159: a Service may be given an address \
         that a server has",
    );
    wants("and the endpoint of Metal3Cluster default/mgmt (192.168.0.151) share 192.168.0.151-192.168.0.151");
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn the_development_lab_is_caught() {
    let found = errors(DEV);
    let wants = |text: &str| assert!(found.iter().any(|f| f.contains(text)), "{text}: {found:#?}");
    wants(
        "the DHCP leases of Ironic default/ironic (192.168.222.5-192.168.222.199) and the endpoint of Metal3Cluster default/mgmt",
    );
    wants("share 192.168.222.150-192.168.222.199: a booting server may be leased the address of a Service");
}

#[test]
fn a_clean_tenant_is_silent() {
    assert_eq!(errors(TENANT), Vec::<String>::new());
}

#[test]
fn nested_networks_meet() {
    let both = format!(
        "{BML}---{}",
        TENANT.replace("10.243.0.0/16", "192.168.64.0/18").replace("name: lb", "name: lb2")
    );
    let found = errors(&both);
    assert!(
        found.iter().any(|f| f.contains(
            "the Pods of Cluster default/mgmt (192.168.64.0/18) and the Pods of Cluster default/kv"
        )),
        "{found:#?}"
    );
    let metal = BML
        .replace("name: mgmt", "name: other")
        .replace("192.168.0.15", "192.168.9.15")
        .replace("192.168.0.1", "192.168.9.1");
    let found = errors(&format!("{BML}---{metal}"));
    assert!(
        !found.iter().any(|f| f.starts_with("network-overlap")),
        "two metal clusters may share a Pod CIDR: {found:#?}"
    );
}

/// A tenant of a site with VM Nodes and servers, and what the site's manager is told.
const SITE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: scute-manager, namespace: scute-system}
data:
  config.yaml: |
    site: lab
    networks:
      nodes: [172.30.0.0/24]
      pods: [10.85.0.0/16]
      services: [10.86.0.0/16]
      servers: [10.85.248.0-10.85.255.254]
      leases: [10.85.240.1-10.85.247.255]
    loadBalancer: {pools: [172.30.0.128-172.30.0.254]}
    metal: {serviceAddress: 172.30.0.2, ramdisk: /ramdisk.iso}
---
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: mix, namespace: t}
spec:
  clusterNetwork: {pods: {cidrBlocks: [10.244.0.0/16]}, services: {cidrBlocks: [10.96.0.0/16, "fd96::/112"]}}
  controlPlaneRef: {apiGroup: controlplane.cluster.x-k8s.io, kind: KamajiControlPlane, name: mix}
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: Metal3Cluster, name: mix}
---
apiVersion: cluster.x-k8s.io/v1beta2
kind: MachineDeployment
metadata: {name: vms, namespace: t}
spec: {clusterName: mix, template: {spec: {infrastructureRef: {kind: KubevirtMachineTemplate, name: vms}}}}
---
apiVersion: ipam.metal3.io/v1alpha1
kind: IPPool
metadata: {name: pool, namespace: t}
spec: {clusterName: mix, namePrefix: p, pools: [{start: 10.85.248.1, end: 10.85.248.9}]}
---
apiVersion: metal3.io/v1alpha1
kind: BareMetalHost
metadata: {name: one, namespace: t}
spec: {bmc: {address: "redfish-virtualmedia+https://10.85.0.1:8443/redfish/v1/Systems/1"}}
---
apiVersion: metal3.io/v1alpha1
kind: BareMetalHost
metadata: {name: two, namespace: t}
spec: {bmc: {address: "redfish-virtualmedia+https://10.85.0.1:8444/redfish/v1/Systems/1"}}
"#;

/// Findings about addresses, as `level rule: message`.
fn of_addresses(text: &str) -> Vec<String> {
    let rules = ["address-overlap", "network-overlap", "address-range", "bmc-owner"];
    let all = findings(text).into_iter().filter(|f| rules.contains(&f.rule));
    all.map(|f| format!("{:?} {}: {}", f.level, f.rule, f.message)).collect()
}

#[test]
fn a_site_with_a_mixed_tenant_is_silent() {
    assert_eq!(of_addresses(SITE), Vec::<String>::new());
}

#[test]
fn whose_addresses_meet_on_a_site_is_said_with_both_owners() {
    let wants = |old: &str, new: &str, parts: &[&str]| {
        assert!(SITE.contains(old), "{old}");
        let found = of_addresses(&SITE.replace(old, new));
        assert!(found.iter().any(|f| parts.iter().all(|part| f.contains(part))), "{parts:?}: {found:#?}");
    };
    let pods = "[10.244.0.0/16]";
    wants(
        pods,
        "[10.85.250.0/24]",
        &["Error network-overlap", "the Pods of the management cluster (10.85.0.0/16)", "Cluster t/mix"],
    );
    wants(
        pods,
        "[10.86.0.0/17]",
        &["the Services of the management cluster", "Cluster t/mix (10.86.0.0/17)"],
    );
    wants(
        pods,
        "[172.30.0.192/26]",
        &["Warning", "the LoadBalancer addresses of the management cluster", "Cluster t/mix"],
    );
    wants(pods, "[10.85.248.0/28]", &["Error", "the servers' addresses of IPPool t/pool", "Cluster t/mix"]);
    wants(
        pods,
        "[\"fd96::/64\"]",
        &["Error", "the Pods of Cluster t/mix (fd96::/64) and the Services of Cluster t/mix (fd96::/112)"],
    );
    let range = "start: 10.85.248.1, end: 10.85.248.9";
    wants(
        range,
        "start: 10.85.3.1, end: 10.85.3.9",
        &["the Pods of the management cluster", "IPPool t/pool"],
    );
    wants(
        range,
        "start: 10.85.240.1, end: 10.85.240.9",
        &["the DHCP leases of the management cluster", "IPPool t/pool"],
    );
    wants(range, "start: 10.85.240.9, end: 10.85.240.1", &["Error address-range", "end must not be before"]);
    wants(
        range,
        "start: 172.30.0.2, end: 172.30.0.3",
        &["the endpoint of the management cluster (172.30.0.2)"],
    );
    wants(
        "10.85.0.1:8444",
        "10.86.0.9",
        &["the Services of the management cluster", "the BMC of BareMetalHost t/two (10.86.0.9)"],
    );
    wants(
        "10.85.0.1:8444",
        "10.85.7.7",
        &["the Pods of the management cluster", "the manager's Pods cannot reach it there"],
    );
    wants("10.85.0.1:8444", "10.85.248.7", &["a machine may be given the address of a BMC", "IPPool t/pool"]);
    wants(
        "10.85.0.1:8444",
        "10.85.0.1:8443",
        &["bmc-owner", "BareMetalHost t/one and BareMetalHost t/two are one server"],
    );
}

#[test]
fn tenants_may_have_what_each_other_has() {
    let other = SITE.split_once("---").unwrap().1;
    let other = other
        .replace("namespace: t", "namespace: u")
        .replace("10.85.248", "10.85.249")
        .replace("10.85.0.1", "10.85.0.9");
    let found = of_addresses(&format!("{SITE}---{other}"));
    let without_bmcs: Vec<_> = found.iter().filter(|f| !f.contains("the BMC of")).collect();
    assert_eq!(without_bmcs, Vec::<&String>::new());
    // Servers of two namespaces may be on one network.
    let same = other.replace("10.85.249", "10.85.248");
    let found = of_addresses(&format!("{SITE}---{same}"));
    assert!(
        found.iter().any(|f| f.starts_with("Warning address-overlap") && f.contains("u/pool")),
        "{found:#?}"
    );
}

#[test]
fn each_fault_has_its_rule() {
    let cases = [
        ("version: v1.33.4", "version: v1.34.0", "version-skew"),
        ("version: v1.33.4", "version: v1.29.9", "version-skew"),
        ("version: v1.33.4", "version: v1.33", "version-format"),
        ("host: 192.168.0.171", "host: 192.168.0.172", "endpoint-mismatch"),
        ("IPs: \"192.168.0.171\"", "IPs: \"192.168.0.180\"", "address-outside-pool"),
        ("kind: KubeadmConfigTemplate, name: kv}", "kind: KubeadmConfigTemplate, name: vk}", "reference"),
        (
            "services: {cidrBlocks: [10.95.0.0/16]}",
            "services: {cidrBlocks: [10.243.7.0/24]}",
            "network-overlap",
        ),
        ("cidrBlocks: [10.243.0.0/16]", "cidrBlocks: [10.243.0.0/33]", "address-range"),
        ("guest: 4Gi", "guest: 512Mi", "vm-size"),
        ("replicas: 1", "replicas: 300", "network-size"),
        ("192.168.0.170-192.168.0.179", "192.168.0.179-192.168.0.170", "address-range"),
    ];
    for (old, new, rule) in cases {
        assert!(TENANT.contains(old), "{old}");
        let found = findings(&TENANT.replace(old, new));
        assert!(
            found.iter().any(|f| f.rule == rule && f.level == Level::Error),
            "{new} is {rule}: {found:#?}"
        );
    }
    let twice =
        format!("{TENANT}---\napiVersion: cluster.x-k8s.io/v1beta2\nkind: Cluster\nmetadata: {{name: kv}}\n");
    assert!(findings(&twice).iter().any(|f| f.rule == "duplicate"));
}

#[test]
fn hosts_bound_vms() {
    let node = "\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: {allocatable: {cpu: \"8\", memory: 16Gi}}\n";
    let rules = |text: String| -> Vec<&str> { findings(&text).iter().map(|f| f.rule).collect() };
    assert!(rules(format!("{}{node}", TENANT.replace("guest: 4Gi", "guest: 16Gi"))).contains(&"vm-size"));
    assert!(rules(format!("{}{node}", TENANT.replace("replicas: 1", "replicas: 5"))).contains(&"capacity"));
    assert!(rules(format!("{TENANT}{node}")).contains(&"survival"));
}

#[test]
fn findings_know_their_lines_and_become_sarif() {
    let found = findings(BML);
    let first = found.iter().find(|f| f.rule == "address-overlap").unwrap();
    assert!(first.places.iter().all(|p| p.line > 0 && p.file == "lab.yaml"));
    let log = sarif::sarif(&found, "0.1.0");
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), found.len());
    assert_eq!(log["runs"][0]["results"][0]["level"], "error");
}

/// Three Nodes of one pool, two hosts that fit and are free, and addresses for two.
const METAL: &str = r#"
apiVersion: ipam.metal3.io/v1alpha1
kind: IPPool
metadata: {name: pool}
spec: {namePrefix: p, pools: [{start: 10.0.0.1, end: 10.0.0.2}]}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
kind: Metal3DataTemplate
metadata: {name: data}
spec: {metaData: {ipAddressesFromIPPool: [{key: ip, name: pool}]}}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
kind: Metal3MachineTemplate
metadata: {name: metal}
spec: {template: {spec: {dataTemplate: {name: data}, hostSelector: {matchLabels: {pool: a}}}}}
---
apiVersion: cluster.x-k8s.io/v1beta2
kind: MachineDeployment
metadata: {name: metal}
spec: {replicas: 3, template: {spec: {infrastructureRef: {kind: Metal3MachineTemplate, name: metal}}}}
---
apiVersion: metal3.io/v1alpha1
kind: BareMetalHost
metadata: {name: h1, labels: {pool: a}}
status: {provisioning: {state: available}}
---
apiVersion: metal3.io/v1alpha1
kind: BareMetalHost
metadata: {name: h2, labels: {pool: a}}
status: {provisioning: {state: available}}
---
apiVersion: metal3.io/v1alpha1
kind: BareMetalHost
metadata: {name: h3, labels: {pool: b}}
status: {provisioning: {state: available}}
"#;

#[test]
fn servers_and_addresses_for_metal_nodes_are_counted() {
    let said = |text: &str| -> Vec<String> {
        let all = findings(text).into_iter().filter(|f| ["pool-size", "host-selector"].contains(&f.rule));
        all.map(|f| format!("{}: {}", f.rule, f.message)).collect()
    };
    assert_eq!(
        said(METAL),
        [
            "pool-size: IPPool pool has 2 addresses left and the Nodes of metal want 3 more: 1 stays without one",
            "host-selector: MachineDeployment default/metal wants 3 servers, 2 fit hostSelector of metal and are free: h3 does \
             not fit hostSelector.matchLabels.pool: a is wanted, it has b",
        ]
    );
    assert_eq!(said(&METAL.replace("replicas: 3", "replicas: 2")), Vec::<String>::new());
    // A server that is in use by a Node that runs is the pool's own.
    let runs = METAL
        .replace("replicas: 3, template", "replicas: 2, template")
        .replace("name: metal}\nspec: {replicas", "name: metal}\nstatus: {replicas: 1}\nspec: {replicas")
        .replacen("status: {provisioning: {state: available}}", "spec: {consumerRef: {kind: Metal3Machine, name: m}}\nstatus: {provisioning: {state: provisioned}}", 1);
    assert_eq!(said(&runs), Vec::<String>::new());
}
