//! The functions that a template calls, found without calling any: a class is refused for one that does not exist, also
//! where no Cluster's choice leads to it yet.

use std::collections::BTreeSet;

use gotmpl::Template;
use gotmpl::parse::{Expr, ListNode, Node, PipeNode};

/// Go's own.
const BUILTINS: [&str; 18] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "call", "print",
    "printf", "println", "html", "js",
];

/// A function that is called and does not exist.
pub fn unknown(template: &Template, known: &BTreeSet<String>) -> Option<String> {
    let names = template.templates();
    names.into_iter().filter_map(|name| template.lookup(name)).find_map(|tree| in_list(tree, known))
}

fn in_list(list: &ListNode, known: &BTreeSet<String>) -> Option<String> {
    list.nodes.iter().find_map(|node| match node {
        Node::List(list) => in_list(list, known),
        Node::Action(action) => in_pipe(&action.pipe, known),
        Node::If(branch) | Node::Range(branch) | Node::With(branch) => in_pipe(&branch.pipe, known)
            .or_else(|| in_list(&branch.body, known))
            .or_else(|| branch.else_body.as_ref().and_then(|body| in_list(body, known))),
        Node::Template(call) => call.pipe.as_ref().and_then(|pipe| in_pipe(pipe, known)),
        Node::Define(define) => in_list(&define.body, known),
        Node::Text(_) | Node::Break(_) | Node::Continue(_) => None,
    })
}

fn in_pipe(pipe: &PipeNode, known: &BTreeSet<String>) -> Option<String> {
    pipe.commands.iter().flat_map(|command| &command.args).find_map(|argument| in_expression(argument, known))
}

fn in_expression(expression: &Expr, known: &BTreeSet<String>) -> Option<String> {
    match expression {
        Expr::Identifier(_, name) => {
            let exists = known.contains(name.as_str()) || BUILTINS.contains(&name.as_str());
            (!exists).then(|| name.to_string())
        }
        Expr::Pipe(_, pipe) => in_pipe(pipe, known),
        Expr::Chain(_, inner, _) => in_expression(inner, known),
        _ => None,
    }
}
