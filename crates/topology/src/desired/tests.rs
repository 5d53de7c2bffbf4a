//! Stories: a class, its templates, a Cluster and what is there; and what should be there.

use std::fmt::Write;
use std::path::Path;

use scute_api::cluster::clusterclass::ClusterClass;
use scute_testkit::every_story_ends_as_written;
use serde_json::json;

use super::*;
use crate::blueprint::{Source, WorkerSources};
use scute_api::cluster::topology::ClassTemplateRef;
use scute_contract::Contract;

/// Every document of the story's files, in their order.
fn documents(story: &Path) -> Vec<Value> {
    let mut files: Vec<_> =
        std::fs::read_dir(story).expect("a story").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    let texts: Vec<_> = files.iter().map(|path| std::fs::read_to_string(path).expect("a file")).collect();
    let documents = texts.iter().flat_map(|text| text.split("\n---\n"));
    documents
        .map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
        .collect()
}

struct Story(Vec<Value>);

impl Story {
    fn one<K: serde::de::DeserializeOwned>(&self, kind: &str) -> K {
        let found = self.0.iter().find(|object| object["kind"] == kind);
        let mut object = found.unwrap_or_else(|| panic!("no {kind}")).clone();
        object["metadata"]["namespace"] = json!("ns");
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!("the-uid");
        }
        serde_json::from_value(object).unwrap_or_else(|error| panic!("{kind}: {error}"))
    }

    fn source(&self, reference: &ClassTemplateRef) -> Source {
        let found = self.0.iter().find(|object| {
            object["kind"] == reference.kind.as_str() && object["metadata"]["name"] == reference.name.as_str()
        });
        let object = found.unwrap_or_else(|| panic!("no {} {}", reference.kind, reference.name));
        let version = reference.api_version.rsplit('/').next().expect("a version");
        let kind = kube::api::GroupVersionKind::gvk(reference.group(), version, &reference.kind);
        Source {
            reference: reference.clone(),
            resource: ApiResource::from_gvk(&kind),
            contract: Contract::V1Beta2,
            object: Arc::new(serde_json::from_value(object.clone()).expect("an object")),
        }
    }

    fn blueprint(&self) -> Blueprint {
        let class: ClusterClass = self.one("ClusterClass");
        let spec = &class.spec;
        let workers = spec.machine_deployments().iter().map(|workers| {
            let sources = WorkerSources {
                bootstrap: self.source(&workers.bootstrap.template_ref),
                infrastructure: self.source(&workers.infrastructure.template_ref),
            };
            (workers.class.clone(), sources)
        });
        Blueprint {
            infrastructure: self.source(&spec.infrastructure.template_ref),
            control_plane: self.source(&spec.control_plane.template_ref),
            machines: spec
                .control_plane
                .machine_infrastructure
                .as_ref()
                .map(|holder| self.source(&holder.template_ref)),
            workers: workers.collect(),
            class: Arc::new(class),
        }
    }
}

fn answer(story: &Path) -> String {
    let story = Story(documents(story));
    let (cluster, blueprint): (Cluster, _) = (story.one("Cluster"), story.blueprint());
    let topology = cluster.spec.topology.clone().expect("a topology");
    let filled = variables::with_defaults(&topology, &blueprint.class.spec.variables);
    let wrong = variables::check_values(&filled, &blueprint.class.spec.variables);
    if !wrong.is_empty() {
        return wrong.iter().map(|wrong| format!("{wrong}\n")).collect();
    }
    let question = Question {
        cluster: &cluster,
        topology: &filled,
        blueprint: &blueprint,
        current: &Current::default(),
    };
    let desired = match desired(question) {
        Ok(desired) => desired,
        Err(why) => return format!("{why}\n"),
    };
    let mut text = format!("# what is made for Cluster {}\n", cluster.name_any());
    let objects =
        [&desired.infrastructure].into_iter().chain(&desired.machines).chain([&desired.control_plane]);
    for made in objects {
        show(&mut text, object::json(&made.object));
    }
    for workers in &desired.workers {
        show(&mut text, object::json(&workers.bootstrap.object));
        show(&mut text, object::json(&workers.infrastructure.object));
        show(&mut text, serde_json::to_value(&workers.object).expect("JSON"));
    }
    desired.checks.into_iter().for_each(|check| show(&mut text, check));
    text
}

fn show(text: &mut String, mut object: Value) {
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    // The same of every object.
    metadata.remove("ownerReferences");
    metadata.remove("namespace");
    let _ = write!(text, "---\n{}", serde_saphyr::to_string(&object).expect("YAML"));
}

#[test]
fn stories() {
    every_story_ends_as_written(Path::new("src/desired/stories"), answer);
}

/// Whatever is random upstream is not: who asks again gets the same, to the letter.
#[test]
fn who_asks_twice_gets_the_same_answer() {
    for story in std::fs::read_dir("src/desired/stories").expect("stories").flatten() {
        assert_eq!(answer(&story.path()), answer(&story.path()));
    }
}
