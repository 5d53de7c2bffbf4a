//! The text of everything that this crate renders for one tenant, kept in `tests/snapshots` to be read.

use scute_kubeadm::{
    ClusterFacts, KUBERNETES_VERSION, addons,
    addons::ImageOverride,
    args::{ApiServer, Arguments, ControllerManager, EtcdAccess, Scheduler},
    cloud_config::{CloudConfig, File, Filesystem, Layout, Ntp, Partition, User},
    join::{Arg, BootstrapTokenDiscovery, Discovery, JoinConfiguration, NodeRegistration},
    join_objects, kubelet_config, to_yaml,
};
use serde_json::Value;

fn facts() -> ClusterFacts {
    let version = KUBERNETES_VERSION.parse().unwrap();
    let ca = "-----BEGIN CERTIFICATE-----\nbm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n";
    ClusterFacts::new("first-tenant", version, "172.30.0.130", 6443, ca)
}

fn documents(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{}", to_yaml(object).unwrap())).collect()
}

#[test]
fn a_tenant_before_its_first_node_joins() {
    let facts = facts();
    insta::assert_snapshot!(
        "10-join-objects",
        documents(&join_objects(&facts, &kubelet_config(&facts)).unwrap())
    );
}

#[test]
fn coredns() {
    insta::assert_snapshot!("20-coredns", documents(&addons::coredns(&facts(), &ImageOverride::default())));
}

#[test]
fn kube_proxy() {
    let objects = addons::kube_proxy(&facts(), &ImageOverride::default()).unwrap();
    insta::assert_snapshot!("21-kube-proxy", documents(&objects));
}

#[test]
fn images_of_another_registry() {
    let image = ImageOverride { repository: Some("registry.lab.example/k8s".into()), tag: Some("v9".into()) };
    let proxy = documents(&addons::kube_proxy(&facts(), &image).unwrap());
    assert!(proxy.contains("image: registry.lab.example/k8s/kube-proxy:v9\n"));
    let dns = documents(&addons::coredns(&facts(), &image));
    assert!(dns.contains("image: registry.lab.example/k8s/coredns:v9\n"));
}

#[test]
fn command_lines_of_a_hosted_control_plane() {
    let facts = facts();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let etcd = EtcdAccess {
        servers: vec!["https://172.30.0.2:2479".into()],
        prefix: Some("/kv-tenant/".into()),
        ca_file: "/etc/kubernetes/pki/etcd/ca.crt".into(),
        cert_file: "/etc/kubernetes/pki/etcd/server.crt".into(),
        key_file: "/etc/kubernetes/pki/etcd/server.key".into(),
        overrides: vec![("/events".into(), vec!["https://a:2379".into(), "https://b:2379".into()])],
    };
    let api_server = ApiServer {
        advertise_address: Some("172.30.0.130".parse().unwrap()),
        secure_port: 6443,
        service_cidrs: &facts.service_cidrs,
        cluster_domain: &facts.cluster_domain,
        admission_plugins: &words("NodeRestriction ResourceQuota"),
        kubelet_preferred_address_types: &words("InternalIP ExternalIP Hostname"),
        pki_dir: "/etc/kubernetes/pki",
        etcd: &etcd,
        defaults: &[],
        extra_args: &words(
            "--runtime-config=api/alpha=true --secure_port=1 --etcd-prefix=/other --allow-privileged=false \
             --oidc-required-claim=a=b --oidc-required-claim=c=d",
        ),
    };
    let controller_manager = ControllerManager {
        cluster_name: "first-tenant",
        pod_cidrs: &facts.pod_cidrs,
        service_cidrs: &facts.service_cidrs,
        pki_dir: "/etc/kubernetes/pki",
        kubeconfig: "/etc/kubernetes/controller-manager.conf",
        bind_address: "0.0.0.0",
        defaults: &[],
        extra_args: &words("--node-monitor-grace-period=20s --leader-elect=false"),
    };
    let scheduler = Scheduler {
        kubeconfig: "/etc/kubernetes/scheduler.conf",
        bind_address: "0.0.0.0",
        defaults: &[],
        extra_args: &words("--leader-elect=false --v=4"),
    };
    let show = |name: &str, Arguments { args, ignored }: Arguments| {
        let lines = |arguments: &[String]| arguments.iter().map(|a| format!("  {a}\n")).collect::<String>();
        format!("{name}\n{}  ignored:\n{}", lines(&args), lines(&ignored))
    };
    let text = [
        show("kube-apiserver", api_server.arguments()),
        show("kube-controller-manager", controller_manager.arguments()),
        show("kube-scheduler", scheduler.arguments()),
    ]
    .concat();
    insta::assert_snapshot!("30-arguments", text);
}

#[test]
fn structured_authorization_excludes_the_flag() {
    let facts = facts();
    let etcd = EtcdAccess {
        servers: vec![],
        prefix: None,
        ca_file: String::new(),
        cert_file: String::new(),
        key_file: String::new(),
        overrides: vec![],
    };
    let of = |extra_args: &[String]| {
        let server = ApiServer {
            advertise_address: None,
            secure_port: 6443,
            service_cidrs: &facts.service_cidrs,
            cluster_domain: "cluster.local",
            admission_plugins: &[],
            kubelet_preferred_address_types: &[],
            pki_dir: "/etc/kubernetes/pki",
            etcd: &etcd,
            defaults: &[],
            extra_args,
        };
        server.arguments().args
    };
    let has = |args: &[String], name: &str| args.iter().any(|argument| argument.starts_with(name));
    assert!(has(&of(&[]), "--authorization-mode="));
    assert!(!has(&of(&[]), "--etcd-compaction-interval="), "compaction is its own unless the etcd is shared");
    let structured = of(&["--authorization-config=/etc/authz.yaml".into()]);
    assert!(!has(&structured, "--authorization-mode="));
}

fn join() -> JoinConfiguration {
    JoinConfiguration {
        discovery: Discovery {
            bootstrap_token: Some(BootstrapTokenDiscovery {
                token: "abcdef.0123456789abcdef".into(),
                api_server_endpoint: Some("172.30.0.130:6443".into()),
                ca_cert_hashes: vec![format!("sha256:{}", "ab".repeat(32))],
                unsafe_skip_ca_verification: false,
            }),
            ..Discovery::default()
        },
        node_registration: NodeRegistration {
            name: Some("{{ ds.meta_data.local_hostname }}".into()),
            kubelet_extra_args: vec![
                Arg { name: "node-labels".into(), value: "zone=a".into() },
                Arg {
                    name: "provider-id".into(),
                    value: "kubevirt://{{ ds.meta_data[\"instance_id\"] }}".into(),
                },
            ],
            image_pull_serial: Some(false),
            ..NodeRegistration::default()
        },
        ..JoinConfiguration::default()
    }
    .with_uninitialized_taint()
}

#[test]
fn join_configuration() {
    insta::assert_snapshot!("40-join-v1beta4", join().render().unwrap());
}

#[test]
fn the_uninitialized_taint_is_there_once() {
    assert_eq!(join().with_uninitialized_taint(), join());
}

#[test]
fn cloud_config_of_a_plain_worker() {
    let join = join().render().unwrap();
    insta::assert_snapshot!("50-cloud-config", CloudConfig::join(&join, None).render().unwrap());
}

#[test]
fn cloud_config_with_every_wish() {
    let text = |text: &str| text.to_owned();
    let file =
        |path: &str, content: &str| File { path: path.into(), content: content.into(), ..File::default() };
    let mut config = CloudConfig::join("kind: JoinConfiguration\n", Some(5)).with_user_files(vec![
        file("/etc/motd", "one line"),
        file("/etc/script", "#!/bin/sh\n\n  indented: {{ ds.meta_data.local_hostname }}\nend\n\n"),
        file("/etc/leading", "  leading blanks\nand more\n"),
        file("/etc/windows", "a\r\nb\r\n"),
        File {
            encoding: Some(text("gzip+base64")),
            owner: Some(text("nobody:nogroup")),
            permissions: Some(text("0600")),
            append: true,
            ..file("/etc/packed", "H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA==")
        },
    ]);
    config.boot_commands = vec![text("echo \"boot\" && true")];
    config.pre_kubeadm_commands = vec![
        text("hostnamectl set-hostname '{{ ds.meta_data.hostname }}'"),
        text("echo {{ ds[\"meta_data\"] }}: yes"),
        text("first line\nsecond line"),
    ];
    config.post_kubeadm_commands = vec![text("{{ 'jinja first' }}"), text("true")];
    config.ntp = Some(Ntp { enabled: Some(true), servers: vec![text("ntp.example")] });
    config.users = vec![User {
        name: text("capk"),
        passwd: Some(text("$6$salt$hash")),
        lock_passwd: Some(false),
        sudo: Some(text("ALL=(ALL) NOPASSWD:ALL")),
        shell: Some(text("/bin/bash")),
        ssh_authorized_keys: vec![text("ssh-ed25519 AAAA someone@example")],
        ..User::default()
    }];
    config.disk_setup.insert(
        text("/dev/vdb"),
        Partition { table_type: Some(text("gpt")), layout: Layout::Whole(true), overwrite: Some(false) },
    );
    config.fs_setup = vec![Filesystem {
        label: Some(text("data")),
        filesystem: text("ext4"),
        device: text("/dev/vdb"),
        partition: Some(text("1")),
        extra_opts: vec![text("-E"), text("lazy_itable_init=1")],
        ..Filesystem::default()
    }];
    config.mounts = vec![vec![text("LABEL=data"), text("/var/lib/data"), text("ext4"), text("defaults")]];
    insta::assert_snapshot!("51-cloud-config-everything", config.render().unwrap());
}

#[test]
fn debug_output_shows_no_secret() {
    let join = join();
    let config = CloudConfig::join(&join.render().unwrap(), None);
    let shown = format!("{join:?} {config:?}");
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
}
