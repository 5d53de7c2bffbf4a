//! Command lines of the control plane's components, and how a user's extra arguments go in.

mod api_server;
mod controller_manager;
mod scheduler;

pub use api_server::{ApiServer, EtcdAccess};
pub use controller_manager::ControllerManager;
pub use scheduler::Scheduler;

use std::collections::{BTreeMap, BTreeSet};

/// The arguments of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `--name=value`, own flags first and sorted, then the user's in their order.
    pub args: Vec<String>,
    /// The user's arguments that are not honoured because the flag is managed. Tell the user.
    pub ignored: Vec<String>,
}

/// Flags on their way to a command line: managed ones win over the user's, defaults give way to them.
#[derive(Default)]
struct Flags {
    managed: BTreeMap<&'static str, String>,
    defaults: BTreeMap<&'static str, String>,
}

impl Flags {
    fn managed(mut self, name: &'static str, value: impl ToString) -> Self {
        self.managed.insert(name, value.to_string());
        self
    }

    fn soft(mut self, name: &'static str, value: impl ToString) -> Self {
        self.defaults.insert(name, value.to_string());
        self
    }

    fn softly(mut self, defaults: &[(&'static str, String)]) -> Self {
        self.defaults.extend(defaults.iter().cloned());
        self
    }

    fn merge(self, extra: &[String]) -> Arguments {
        let Self { managed, mut defaults } = self;
        let (ignored, accepted): (Vec<_>, Vec<_>) =
            extra.iter().cloned().partition(|argument| managed.contains_key(flag_name(argument).as_str()));
        let given: BTreeSet<String> = accepted.iter().map(|argument| flag_name(argument)).collect();
        defaults.retain(|name, _| !given.contains(*name));
        let own: BTreeMap<_, _> = managed.into_iter().chain(defaults).collect();
        let mut args: Vec<_> = own.into_iter().map(|(name, value)| format!("--{name}={value}")).collect();
        args.extend(accepted);
        Arguments { args, ignored }
    }
}

/// The name in `--name=value`, `--name value`, `--name` or `name=value`; `_` counts as `-`, as in Kubernetes.
fn flag_name(argument: &str) -> String {
    let bare = argument.trim().trim_start_matches('-');
    let end = bare.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(bare.len());
    bare[..end].replace('_', "-")
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
