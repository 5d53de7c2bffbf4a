//! Commands as a script calls them: without a terminal, with an environment.

use std::process::{Command, Stdio};

/// What a command says to standard error, and whether it went well.
fn scute(arguments: &[&str], kubeconfig: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_scute"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .expect("scute");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_removes_something_asks_for_yes_where_nobody_can_be_asked() {
    let (done, said) = scute(&["cluster", "delete", "lab"], "");
    assert!(!done && said.contains("Delete Cluster lab?") && said.contains("--yes"), "{said}");
}

#[test]
fn several_files_of_kubeconfig_are_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let context =
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n";
    // Nobody listens there.
    let cluster =
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]\n";
    let both = format!("{}:{}", write("context", context), write("cluster", cluster));
    let (done, said) = scute(&["cluster", "list"], &both);
    assert!(!done && said.contains("listing Clusters"), "{said}");
    // One of them is named before the environment is looked at.
    let named = dir.path().join("context").display().to_string();
    let (done, said) = scute(&["cluster", "list", "--kubeconfig", &named], &both);
    assert!(!done && said.contains("using kubeconfig") && said.contains("context"), "{said}");
}
