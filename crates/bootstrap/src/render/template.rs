//! Files of the format `Template`: the part of Go's templates that a file needs to tell the versions of a control plane
//! apart. There is one variable, `.controlPlane.version`, and it may be asked for with `if`. Pure.

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// Most that a template may become.
const LONGEST: usize = 1 << 20;

/// Fills a template in. Without a version `.controlPlane` is absent: `if` is false for it, and printing it is an error,
/// as a file with `<no value>` in it is of no use.
///
/// # Errors
/// With what is wrong, in words.
pub fn render(template: &str, version: Option<&str>) -> Result<String, String> {
    let mut out = String::new();
    // Of each open `if`: whether its branch is taken, and whether its `else` was seen.
    let mut open: Vec<(bool, bool)> = Vec::new();
    for piece in pieces(template)? {
        let shown = open.iter().all(|(taken, _)| *taken);
        match piece {
            Piece::Text(text) if shown => out.push_str(text),
            Piece::Text(_) => {}
            Piece::Action(action) => match action.split_whitespace().collect::<Vec<_>>()[..] {
                ["if", field] => open.push((is_known(field)? && version.is_some(), false)),
                ["else"] => match open.last_mut() {
                    Some((taken, seen @ false)) => {
                        *taken = !*taken;
                        *seen = true;
                    }
                    _ => return Err("an else has no if".to_owned()),
                },
                ["end"] => {
                    open.pop().ok_or("an end has no if")?;
                }
                [".controlPlane.version"] if shown => {
                    let why =
                        "the version of the control plane is not known: ask with {{ if .controlPlane }}";
                    out.push_str(version.ok_or(why)?);
                }
                [".controlPlane.version"] => {}
                _ => return Err(unknown(action)),
            },
        }
        if out.len() > LONGEST {
            return Err(format!("the result is longer than {LONGEST} bytes"));
        }
    }
    if open.is_empty() { Ok(out) } else { Err("an if has no end".to_owned()) }
}

fn is_known(field: &str) -> Result<bool, String> {
    match field {
        ".controlPlane" | ".controlPlane.version" => Ok(true),
        _ => Err(unknown(field)),
    }
}

fn unknown(action: &str) -> String {
    let short: String = action.chars().take(60).collect();
    format!("{{{{ {short} }}}} is not understood: there are .controlPlane.version, if, else and end")
}

/// Text and actions, with the blanks that `{{-` and `-}}` take away.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim = false;
    loop {
        let (mut text, action) = match rest.split_once("{{") {
            None => (rest, None),
            Some((text, action)) => (text, Some(action)),
        };
        if trim {
            text = text.trim_start();
        }
        let Some(action) = action else {
            pieces.push(Piece::Text(text));
            return Ok(pieces);
        };
        let (action, after) = action.split_once("}}").ok_or("a {{ has no }}")?;
        let action = match action.strip_prefix("- ") {
            Some(action) => {
                text = text.trim_end();
                action
            }
            None => action,
        };
        let (action, after_trims) = match action.strip_suffix(" -") {
            Some(action) => (action, true),
            None => (action, false),
        };
        pieces.push(Piece::Text(text));
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(action));
        }
        rest = after;
        trim = after_trims;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_filled_in_and_asked_for() {
        let template = "a {{ .controlPlane.version }}\n{{- if .controlPlane }} known{{ else }} unknown{{ end -}}  \n{{/* no */}}!";
        assert_eq!(render(template, Some("v1.35.0")).as_deref(), Ok("a v1.35.0 known!"));
        let template = "{{ if .controlPlane.version }}{{ .controlPlane.version }}{{ else }}none{{ end }}";
        assert_eq!(render(template, None).as_deref(), Ok("none"));
        assert_eq!(render("plain } text", None).as_deref(), Ok("plain } text"));
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (template, why) in [
            ("{{ .cluster }}", "{{ .cluster }} is not understood"),
            ("{{ if .x }}{{ end }}", "{{ .x }} is not understood"),
            ("{{ .controlPlane.version", "a {{ has no }}"),
            ("{{ if .controlPlane }}", "an if has no end"),
            ("{{ end }}", "an end has no if"),
            ("{{ else }}", "an else has no if"),
            ("{{ .controlPlane.version }}", "the version of the control plane is not known"),
        ] {
            let error = render(template, None).expect_err(template);
            assert!(error.starts_with(why), "{template}: {error}");
        }
    }
}
