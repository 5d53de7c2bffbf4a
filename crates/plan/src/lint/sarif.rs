//! Findings as SARIF 2.1.0, which code hosts show beside the lines.

use serde_json::{Value, json};

use super::{Finding, Level, RULES};

/// The log of one run.
pub fn sarif(findings: &[Finding], version: &str) -> Value {
    let rules: Vec<Value> =
        RULES.iter().map(|(id, about)| json!({"id": id, "shortDescription": {"text": about}})).collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|f| {
            let level = match f.level {
                Level::Error => "error",
                Level::Warning => "warning",
                Level::Note => "note",
            };
            let locations: Vec<Value> = f
                .places
                .iter()
                .map(|p| {
                    json!({
                        "physicalLocation": {
                            "artifactLocation": {"uri": p.file},
                            "region": {"startLine": p.line.max(1)},
                        },
                        "logicalLocations": [{"fullyQualifiedName": format!("{}:{}", p.object, p.field)}],
                    })
                })
                .collect();
            json!({
                "ruleId": f.rule,
                "ruleIndex": RULES.iter().position(|(r, _)| *r == f.rule),
                "level": level,
                "message": {"text": format!("{}. Fix: {}.", f.message, f.fix)},
                "locations": locations,
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "scute lint", "version": version, "rules": rules}},
            "results": results,
        }],
    })
}
