//! Numbered stories: a fleet, a demand, and the answer as a person reads it. `SCUTE_UPDATE=1` writes the answers anew.

use std::fs;
use std::path::Path;

use scute_plan::input::{parse_demand, parse_fleet};
use scute_plan::lint::blueprint::check;
use scute_plan::planner::compare::{Variant, compare};
use scute_plan::planner::plan;
use scute_plan::render::manifests::{File, Settings, files};
use scute_plan::render::table;

fn answer(story: &Path) -> String {
    let read = |name: &str| fs::read_to_string(story.join(name)).unwrap();
    let fleet = parse_fleet("fleet.yaml", &read("fleet.yaml")).unwrap();
    let demand = parse_demand("demand.yaml", &read("demand.yaml")).unwrap();
    let blueprint = plan(&fleet, &demand, 0);
    let findings = check(&blueprint, &demand);
    assert!(findings.is_empty(), "{}: {findings:#?}\n{}", story.display(), table::blueprint(&blueprint));
    assert_eq!(blueprint, plan(&fleet, &demand, 0), "the same inputs and seed give the same blueprint");
    let mut out = format!("{}\n{}", read("story.txt"), table::blueprint(&blueprint));
    if let Ok(variants) = fs::read_to_string(story.join("compare.txt")) {
        let variants = Variant::parse_list(variants.trim()).unwrap();
        out += &format!("\nCOMPARED\n{}", table::comparison(&compare(&fleet, &demand, &variants, 0)));
    }
    if let Ok(names) = fs::read_to_string(story.join("objects.txt")) {
        let written = files(&blueprint, &settings()).unwrap();
        let named = names.trim().split(", ").map(|n| written.iter().find(|f| f.name == n).unwrap());
        out += &named.map(objects).collect::<String>();
    }
    out
}

fn settings() -> Settings {
    Settings {
        namespace: "tenants".to_owned(),
        version: "v1.35.4".to_owned(),
        image: "scute.dev/node:v1.35.4".to_owned(),
        metal_image: None,
        clusters: true,
        data_store: "default".to_owned(),
        pods: "10.245.0.0/16".to_owned(),
        services: "10.93.0.0/16".to_owned(),
    }
}

/// As `scute plan apply --dry-run` prints it.
fn objects(file: &File) -> String {
    let left: String = file.left.iter().map(|l| format!("# not in here: {l}\n")).collect();
    let documents = file.documents.iter().map(|d| format!("---\n{}", serde_saphyr::to_string(d).unwrap()));
    format!("\n# {}\n{left}{}", file.name, documents.collect::<String>())
}

#[test]
fn every_story_ends_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    scute_testkit::every_story_ends_as_written(&root, answer);
}
