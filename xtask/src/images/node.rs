//! stub
use super::{Inputs, Made};
use anyhow::{Result, bail};
/// The image.
pub fn make(_inputs: &Inputs) -> Result<Made> {
    bail!("node image: not yet")
}
