//! Whatever a user writes comes out of the YAML as it went in.

use proptest::prelude::*;
use scute_kubeadm::cloud_config::{CloudConfig, File, User};
use scute_kubeadm::init::to_template_yaml;
use serde_json::{Value, json};

/// Words that YAML or jinja take for something, and anything else.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<char>().prop_map(String::from),
        proptest::sample::select(vec![
            "\n",
            "\r\n",
            "\t",
            "  ",
            "#",
            ": ",
            "- ",
            "---\n",
            "'",
            "\"",
            "\\",
            "|",
            ">",
            "!!binary ",
            "yes",
            "~",
            "0644",
            "1e3",
            "{{ ds.meta_data.name }}",
            "{{ ds[\"x\"] }}",
            "{% raw %}",
            "{#",
            "%",
            "&a",
            "*a",
            "`",
            "@",
            "\u{0}",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{1f600}",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_survives_cloud_config(content in text(), command in text(), name in text()) {
        let mut config = CloudConfig::join("kind: JoinConfiguration\n", None)
            .with_user_files(vec![File { path: name.clone(), content: content.clone(), ..File::default() }]);
        config.pre_kubeadm_commands = vec![command.clone()];
        config.users = vec![User { name: name.clone(), gecos: Some(command.clone()), ..User::default() }];
        config.mounts = vec![vec![name.clone(), command.clone()]];
        let rendered = config.render().expect("rendered");
        let read: Value = serde_saphyr::from_str(&rendered).unwrap_or_else(|error| panic!("{error}\n{rendered}"));
        prop_assert_eq!(&read["write_files"][0]["path"], &json!(name));
        prop_assert_eq!(&read["write_files"][0]["content"], &json!(content));
        prop_assert_eq!(&read["runcmd"][0], &json!(command));
        prop_assert_eq!(&read["users"][0]["gecos"], &json!(command));
        prop_assert_eq!(&read["mounts"][0], &json!([name, command]));
    }

    #[test]
    fn any_text_survives_kubeadms_configuration_in_a_file(value in text()) {
        let document = json!({"kind": "ClusterConfiguration", "apiServer": {"extraArgs": [{"name": "x", "value": value}]}});
        let yaml = to_template_yaml(std::slice::from_ref(&document)).expect("rendered");
        let rendered = CloudConfig::init(&yaml, None).render().expect("rendered");
        let outer: Value = serde_saphyr::from_str(&rendered).unwrap_or_else(|error| panic!("{error}\n{rendered}"));
        let inner = outer["write_files"][0]["content"].as_str().expect("text");
        let inner: Value = serde_saphyr::from_str(inner).unwrap_or_else(|error| panic!("{error}\n{inner}"));
        prop_assert_eq!(inner, document);
    }
}
