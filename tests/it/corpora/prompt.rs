//! A document is a prompt that is written and read again as it was, or is refused with the places of its faults.

use super::{in_time, template::compile};
use serde_json::Map;
use tower_gateway::prompt::{Prompt, diff};

pub(super) fn check(input: &[u8]) {
    let prompt: Prompt = match in_time(input.len(), || serde_json::from_slice(input)) {
        Ok(prompt) => prompt,
        Err(wrong) => {
            assert!(!wrong.to_string().is_empty());
            return;
        }
    };
    let form = prompt.to_json();
    assert_eq!(Prompt::from_json(&form).expect("what was read"), prompt);
    assert_eq!(diff("one", &prompt, "other", &prompt), "");
    let unpinned = prompt.unpinned().next().is_some();
    let Some(version) = in_time(input.len(), || compile(prompt)) else {
        panic!("what was read is checked");
    };
    assert!(version.variables_schema().is_object());
    let faults = in_time(input.len(), || version.check_variables(&Map::new()));
    let rendered = in_time(input.len(), || version.render(&Map::new()));
    assert!(faults.is_empty() || rendered.is_err());
    if let (true, Err(error)) = (unpinned, rendered) {
        assert!(!error.to_string().is_empty());
    }
    let _ = version.check_output(&form);
}
