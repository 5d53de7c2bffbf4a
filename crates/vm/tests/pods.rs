//! Each VMI of `tests/pods` gives the Pod that the snapshot beside it shows.

use scute_api::kubevirt::VirtualMachineInstance;
use scute_vm::Config;
use scute_vm::virtualmachineinstance::{inline_secret, pod::pod};

#[test]
fn pods() {
    insta::glob!("pods/*.yaml", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let vmi: VirtualMachineInstance = serde_saphyr::from_str(&text).unwrap();
        let config = Config { launcher_image: "scute.dev/launcher:test".into(), ..Config::default() };
        let pod = pod(&vmi, &config).unwrap();
        let in_clear = serde_json::to_string(&pod).unwrap();
        assert!(!in_clear.contains("never-in-a-pod"), "a Secret's content is in the Pod");
        let env = pod.spec.as_ref().unwrap().containers[0].env.as_ref().unwrap()[0].value.clone().unwrap();
        let document: serde_json::Value = serde_json::from_str(&env).unwrap();
        let mut shown = serde_json::to_value(&pod).unwrap();
        for list in ["initContainers", "containers"] {
            for container in shown["spec"][list].as_array_mut().unwrap() {
                container["env"][0]["value"] = "(the document below)".into();
            }
        }
        let secret = inline_secret(&vmi).map(|secret| {
            let keys: Vec<_> = secret.data.unwrap_or_default().into_keys().collect();
            serde_json::json!({"name": secret.metadata.name, "keys": keys})
        });
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_yaml_snapshot!(serde_json::json!({
                "pod": shown, "document": document, "inlineSecret": secret,
            }));
        });
    });
}
