//! Objects with parts that hang on what is chosen: written once, read twice. In: JSON with marks in it ([`when`], [`given`]).
//! Out: the object for one [`Choice`]; the chart makes a template for all of them out of the same. Pure.

use crate::manager::NODE_FOLDER;
use crate::{InstallError, Options, image};
use scute_api::engines::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const WHEN: &str = "$when";
const THEN: &str = "$then";
const ELSE: &str = "$else";
const GIVEN: &str = "$given";

/// What a part hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum When {
    /// The engine is ours.
    On(Engine),
    /// The engine is an upstream project's.
    Off(Engine),
    /// There are several managers.
    Several,
    /// Bare-metal servers are managed.
    Metal,
    /// The disk of Nodes is among what they are given.
    NodeDisk,
    /// The chart brings the definitions; the command always does.
    Definitions,
    /// Prometheus and Grafana are told.
    Monitoring,
    /// The etcd of tenants is installed too.
    Etcd,
    /// Its volumes are of a class of their own.
    EtcdStorageClass,
}

/// What is put in as it was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Given {
    /// Namespace of the manager.
    Namespace,
    /// How many managers.
    Replicas,
    /// An image of ours: name and tag.
    Image(String, String),
    /// The manager's configuration, as text.
    Configuration,
    /// Another text, another sum: Pods are replaced when it changes.
    ConfigurationSum,
    /// Port of the agents on servers.
    ServicePort,
    /// Port of the media of BMCs.
    MediaPort,
    /// How many members the etcd of tenants has.
    EtcdMembers,
    /// The size of their volumes.
    EtcdStorage,
    /// The class of their volumes.
    EtcdStorageClass,
    /// Their image.
    EtcdImage,
}

/// This part, or none.
pub fn when(condition: When, then: Value) -> Value {
    json!({WHEN: condition, THEN: then})
}

/// This part, or the other.
pub fn either(condition: When, then: Value, or: Value) -> Value {
    json!({WHEN: condition, THEN: then, ELSE: or})
}

/// What was chosen.
pub fn given(what: &Given) -> Value {
    json!({GIVEN: what})
}

/// The namespace of the manager.
pub fn namespace() -> Value {
    given(&Given::Namespace)
}

/// JSON as it is read.
pub enum Part<'a> {
    /// One of two.
    When(When, &'a Value, Option<&'a Value>),
    /// What was chosen.
    Given(Given),
    /// A list of parts.
    List(&'a [Value]),
    /// Parts by name.
    Map(&'a Map<String, Value>),
    /// Text, number, truth or nothing.
    Plain(&'a Value),
}

/// Reads the mark of a value, if it has one.
pub fn read(value: &Value) -> Result<Part<'_>, InstallError> {
    fn mark<T: for<'de> Deserialize<'de>>(mark: &Value) -> Result<T, InstallError> {
        T::deserialize(mark).map_err(|error| InstallError::Malformed(format!("{mark}: {error}; it")))
    }
    Ok(match value {
        Value::Object(map) => match (map.get(WHEN), map.get(THEN), map.get(GIVEN)) {
            (Some(when), Some(then), _) => Part::When(mark(when)?, then, map.get(ELSE)),
            (_, _, Some(given)) => Part::Given(mark(given)?),
            _ => Part::Map(map),
        },
        Value::Array(list) => Part::List(list),
        plain => Part::Plain(plain),
    })
}

/// What was chosen.
pub struct Choice<'a> {
    options: &'a Options,
    /// The configuration, as the manager reads it.
    text: String,
}

impl<'a> Choice<'a> {
    /// Of these options.
    ///
    /// # Errors
    /// When the configuration cannot be written as text.
    pub fn new(options: &'a Options) -> Result<Self, InstallError> {
        // By names, so that whoever renders it elsewhere comes to the same text.
        let malformed = |error: serde_json::Error| InstallError::Malformed(error.to_string());
        let mut value = serde_json::to_value(&options.configuration).map_err(malformed)?;
        value.sort_all_objects();
        Ok(Self { options, text: serde_json::to_string_pretty(&value).map_err(malformed)? })
    }

    /// The objects as they are then.
    ///
    /// # Errors
    /// When a mark is none.
    pub fn resolve(&self, objects: &[Value]) -> Result<Vec<Value>, InstallError> {
        objects.iter().filter_map(|object| self.part(object).transpose()).collect()
    }

    fn part(&self, value: &Value) -> Result<Option<Value>, InstallError> {
        Ok(Some(match read(value)? {
            Part::When(when, then, or) => {
                let part = if self.holds(when) { Some(then) } else { or };
                return part.map_or(Ok(None), |part| self.part(part));
            }
            Part::Given(given) => self.value(&given),
            Part::List(list) => Value::Array(self.resolve(list)?),
            Part::Map(map) => {
                let mut made = Map::new();
                for (key, value) in map {
                    if let Some(value) = self.part(value)? {
                        made.insert(key.clone(), value);
                    }
                }
                Value::Object(made)
            }
            Part::Plain(value) => value.clone(),
        }))
    }

    fn holds(&self, when: When) -> bool {
        let Options { configuration, replicas, monitoring, .. } = self.options;
        let (metal, etcd) = (configuration.metal.as_ref(), configuration.etcd.as_ref());
        match when {
            When::On(engine) => !configuration.without.contains(&engine),
            When::Off(engine) => configuration.without.contains(&engine),
            When::Several => *replicas > 1,
            When::Metal => metal.is_some(),
            When::NodeDisk => {
                metal.is_some_and(|metal| metal.images.values().any(|file| file.starts_with(NODE_FOLDER)))
            }
            When::Definitions => true,
            When::Monitoring => *monitoring,
            When::Etcd => etcd.is_some(),
            When::EtcdStorageClass => etcd.is_some_and(|etcd| etcd.storage_class.is_some()),
        }
    }

    fn value(&self, given: &Given) -> Value {
        use sha2::{Digest, Sha256};
        let Options { configuration, replicas, registry, namespace, .. } = self.options;
        let (metal, etcd) = (configuration.metal.as_ref(), configuration.etcd.as_ref());
        match given {
            Given::Namespace => namespace.as_str().into(),
            Given::Replicas => (*replicas).into(),
            Given::Image(name, tag) => image(registry, name, tag).into(),
            Given::Configuration => self.text.clone().into(),
            Given::ConfigurationSum => hex::encode(&Sha256::digest(&self.text)[..8]).into(),
            Given::ServicePort => metal.map(|metal| metal.service_port).into(),
            Given::MediaPort => metal.map(|metal| metal.media_port).into(),
            Given::EtcdMembers => etcd.map(|etcd| etcd.members).into(),
            Given::EtcdStorage => etcd.map(|etcd| etcd.storage.clone()).into(),
            Given::EtcdStorageClass => etcd.and_then(|etcd| etcd.storage_class.clone()).into(),
            Given::EtcdImage => etcd.map(|etcd| etcd.image.clone()).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManagerConfig;

    #[test]
    fn a_part_is_there_when_its_condition_holds_and_a_mark_is_never_left() {
        let configuration = ManagerConfig { without: vec![Engine::Kamaji], ..ManagerConfig::default() };
        let one = Options { registry: "r".into(), namespace: "n".into(), ..Options::site(configuration) };
        let two = Options { replicas: 2, ..one.clone() };
        let choice = Choice::new(&two).unwrap();
        let object = json!({
            "a": when(When::On(Engine::Kamaji), json!(1)),
            "b": [when(When::Off(Engine::Kamaji), given(&Given::Replicas)), when(When::Metal, json!(2))],
            "c": either(When::Metal, json!(1), json!({"d": namespace()})),
            "e": given(&Given::Image("scute".into(), "1".into())),
        });
        let whole = when(When::Several, object);
        let made = choice.resolve(&[whole.clone(), when(When::Metal, json!({}))]).unwrap();
        assert_eq!(made, [json!({"b": [2], "c": {"d": "n"}, "e": "r/scute:1"})]);
        let single = Choice::new(&one).unwrap();
        assert_eq!(single.resolve(&[whole]).unwrap(), [] as [Value; 0]);
        assert!(single.resolve(&[json!({GIVEN: "nothing"})]).is_err());
    }
}
