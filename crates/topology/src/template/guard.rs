//! Functions see values of a bounded size and depth only: a list that holds itself twice, forty times over, is small in
//! memory and endless in print.

use std::sync::Arc;

use gotmpl::{FuncMap, Template, TemplateError, Value};

use super::LARGEST;

/// How deep lists and maps lie in each other.
const DEEPEST: usize = 32;

/// A function that is asked only with what is small enough, and whose answer is.
pub fn add(
    functions: &mut FuncMap,
    name: &'static str,
    function: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
) {
    let guarded = move |arguments: &[Value]| {
        let mut room = LARGEST;
        if !arguments.iter().all(|argument| fits(argument, &mut room, DEEPEST)) {
            return Err(TemplateError::Exec(format!("{name}: too much")));
        }
        let made = function(arguments).map_err(|why| TemplateError::Exec(format!("{name}: {why}")))?;
        let mut room = LARGEST;
        match fits(&made, &mut room, DEEPEST) {
            true => Ok(made),
            false => Err(TemplateError::Exec(format!("{name}: too much"))),
        }
    };
    functions.insert(name.to_owned(), Arc::new(guarded));
}

/// The functions of Go itself that make something longer, behind the guard.
pub fn add_growing_builtins(functions: &mut FuncMap) {
    for name in ["print", "printf", "println", "html", "js", "urlquery"] {
        add(functions, name, move |arguments| {
            let places: String = (0..arguments.len()).map(|n| format!(" (index . {n})")).collect();
            let call = Template::new(name).parse(&format!("{{{{{name}{places}}}}}"));
            let data = Value::List(arguments.into());
            let text =
                call.and_then(|call| call.execute_to_string(&data)).map_err(|error| error.to_string())?;
            Ok(Value::String(text.into()))
        });
    }
}

/// Whether a value has room: a byte of text, and each value, take one.
fn fits(value: &Value, room: &mut usize, depth: usize) -> bool {
    let mut take = |size: usize| {
        let fits = size <= *room;
        *room = room.saturating_sub(size);
        fits
    };
    match value {
        Value::String(text) => take(1 + text.len()),
        Value::List(list) => take(1) && depth > 0 && list.iter().all(|item| fits(item, room, depth - 1)),
        Value::Map(map) => {
            take(1)
                && depth > 0
                && map.iter().all(|(key, item)| {
                    let size = 1 + key.len();
                    let fits_key = size <= *room;
                    *room = room.saturating_sub(size);
                    fits_key && fits(item, room, depth - 1)
                })
        }
        _ => take(1),
    }
}
