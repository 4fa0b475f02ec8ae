//! A function that may be called, as most protocols write it down.

use super::value::{Fields, Path};
use crate::{Rejection, llm::Tool};

/// Reads one whose schema stands in this field. What else there is stays in `fields`.
pub(super) fn read(
    fields: &mut Fields<'_>,
    path: Path<'_>,
    schema: &'static str,
) -> Result<Tool, Rejection> {
    let name = fields.required("name")?;
    if name.is_empty() {
        return Err(path.key("name").fault("A name is required."));
    }
    let parameters = fields.take(schema);
    if parameters.as_ref().is_some_and(|it| !it.is_object()) {
        return Err(path.key(schema).fault("Expected an object."));
    }
    Ok(Tool {
        parameters,
        description: fields.string("description")?,
        strict: fields.bool("strict")?,
        ..Tool::new(name)
    })
}
