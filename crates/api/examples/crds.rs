//! Prints every CustomResourceDefinition that Scute serves, as YAML documents: the input of `cargo xtask crds`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for crd in scute_api::crds() {
        // Through JSON first: types that serialise themselves for one format only come out alike.
        print!("---\n{}", serde_saphyr::to_string(&serde_json::to_value(&crd)?)?);
    }
    Ok(())
}
