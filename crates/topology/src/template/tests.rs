use serde_json::json;

use super::*;

fn rendered(template: &str, data: Value) -> String {
    render(template, &data, Missing::Nothing).unwrap_or_else(|why| panic!("{template}: {why}"))
}

/// Templates as upstream's and others' classes have them.
#[test]
fn templates_of_real_classes() {
    let cases = [
        (r#"{{ ne .etcdImageTag "" }}"#, json!({"etcdImageTag": ""}), "false"),
        ("{{ not .controlPlaneTaint }}", json!({"controlPlaneTaint": false}), "true"),
        (
            r#"kindest/node:{{ .builtin.machineDeployment.version | replace "+" "_" }}"#,
            json!({"builtin": {"machineDeployment": {"version": "v1.35.4+k3s1"}}}),
            "kindest/node:v1.35.4_k3s1",
        ),
        (
            r#"{{ if semverCompare "< v1.25-0" .builtin.controlPlane.version }}old{{ end }}"#,
            json!({"builtin": {"controlPlane": {"version": "v1.24.3"}}}),
            "old",
        ),
        (
            "{{ if .kubeletLogLevel }}v: {{ .kubeletLogLevel | quote }}{{end}}",
            json!({"kubeletLogLevel": "2"}),
            "v: \"2\"",
        ),
        ("{{ if .kubeletLogLevel }}v{{end}}", json!({}), ""),
        (
            "{{ .proxy | toYaml | nindent 2 }}",
            json!({"proxy": {"url": "u", "skip": ["a"]}}),
            "\n  skip:\n  - a\n  url: u",
        ),
        ("{{ range $i, $n := .nodes }}{{ $i }}={{ $n }};{{ end }}", json!({"nodes": ["a", "b"]}), "0=a;1=b;"),
        (
            "{{ with .a }}{{ .b | default \"x\" | upper }}{{ else }}none{{ end }}",
            json!({"a": {"b": ""}}),
            "X",
        ),
        ("{{ printf \"%s-%03d\" .name .count | b64enc }}", json!({"name": "a", "count": 7}), "YS0wMDc="),
        ("{{- .a -}}", json!({"a": " x "}), " x "),
    ];
    for (template, data, want) in cases {
        assert_eq!(rendered(template, data), want, "{template}");
    }
}

#[test]
fn a_name_is_not_made_of_what_is_missing() {
    let data = json!({"cluster": {"name": "c"}, "random": "x"});
    let name = |template: &str| render(template, &data, Missing::Error);
    assert_eq!(name("{{ .cluster.name }}-{{ .random }}"), Ok("c-x".to_owned()));
    assert!(name("{{ .cluster.nam }}").is_err());
    assert!(check("{{ .cluster.name ").is_err() && check("{{ now }}").is_err());
}

/// A class is a stranger's: none of these may take the manager's memory, stack or time.
#[test]
fn nobody_takes_more_than_a_template_is_worth() {
    let attacks = [
        "{{ $x := \"aaaaaaaaaaaaaaaa\" }}{{ range 60 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}".to_owned(),
        "{{ $x := list 1 }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}".to_owned(),
        "{{ $x := list }}{{ range 9000 }}{{ $x = list $x }}{{ end }}".to_owned(),
        "{{ range 100000000 }}{{ end }}".to_owned(),
        "{{ range 5000 }}{{ range 5000 }}{{ end }}{{ end }}".to_owned(),
        "{{ repeat 100000000 \"a\" }}".to_owned(),
        "{{ $x := \"&\" }}{{ range 60 }}{{ $x = html $x $x }}{{ end }}{{ $x }}".to_owned(),
        format!("{}{}", "{{if 1}}".repeat(1200), "{{end}}".repeat(1200)),
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}".to_owned(),
        "{{ index .list 5 }}".to_owned(),
        "{{ div 1 0 }}".to_owned(),
        "{{ mul 9223372036854775807 2 }}".to_owned(),
    ];
    for attack in attacks {
        let answer = render(&attack, &json!({"list": [1]}), Missing::Nothing);
        let short: String = attack.chars().take(60).collect();
        assert!(answer.is_err(), "{short}: {} letters", answer.unwrap_or_default().len());
    }
}
