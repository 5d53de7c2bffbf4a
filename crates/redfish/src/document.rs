//! Reading documents as they come: a field that is missing, null or of another type is not there, and nothing more.

use serde_json::Value;

/// A text that is not empty.
pub fn text(document: &Value, pointer: &str) -> Option<String> {
    let text = document.pointer(pointer)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number that is not negative; fractions are cut off.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn number(document: &Value, pointer: &str) -> Option<u64> {
    let value = document.pointer(pointer)?;
    value.as_u64().or_else(|| value.as_f64().filter(|it| it.is_finite() && *it >= 0.0).map(|it| it as u64))
}

/// Yes or no.
pub fn flag(document: &Value, pointer: &str) -> Option<bool> {
    document.pointer(pointer)?.as_bool()
}

/// An address of another resource. Those that lead elsewhere are none.
pub fn link(document: &Value, pointer: &str) -> Option<String> {
    path(document.pointer(pointer)?.get("@odata.id")?)
}

/// Addresses in a list, as many as are followed.
pub fn links(document: &Value, pointer: &str) -> Vec<String> {
    let all = document.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|member| path(member.get("@odata.id")?)).take(MEMBERS).collect()
}

/// Texts in a list.
pub fn texts(document: &Value, pointer: &str) -> Option<Vec<String>> {
    let all = document.pointer(pointer)?.as_array()?;
    Some(all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
}

/// An address, when it is one on the same BMC.
pub fn path(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    text.starts_with("/redfish").then(|| text.to_owned())
}

/// Members of a collection that are followed; a BMC has no more of anything that we need.
const MEMBERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nonsense_is_not_there() {
        let odd = json!({"a": 5, "b": "", "c": null, "d": 7.9, "e": -1, "Members": null, "l": {"@odata.id": "http://x/"}});
        assert_eq!(
            (text(&odd, "/a"), text(&odd, "/b"), text(&odd, "/c"), text(&odd, "/z")),
            (None, None, None, None)
        );
        assert_eq!((number(&odd, "/d"), number(&odd, "/e"), number(&odd, "/b")), (Some(7), None, None));
        assert_eq!((links(&odd, "/Members"), link(&odd, "/l")), (vec![], None));
    }
}
