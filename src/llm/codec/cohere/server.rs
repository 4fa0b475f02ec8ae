//! What clients ask for in the vendor's words: rerank, and nothing else.

use crate::llm::{
    Error, Operation, VendorError,
    codec::{ErrorAnswer, Target, fault},
};
use serde_json::json;
use std::sync::{Arc, LazyLock};

/// Paths of either version, for their requests and answers are one.
pub(super) const PATHS: [&str; 2] = ["/v1/rerank", "/v2/rerank"];

pub(super) fn target(path: &str) -> Option<(Target, Arc<str>)> {
    static TEMPLATES: LazyLock<[Arc<str>; 2]> = LazyLock::new(|| PATHS.map(Arc::from));
    let template = TEMPLATES.iter().find(|template| ***template == *path)?;
    Some((Target::Model(Operation::Rerank.into()), template.clone()))
}

/// An error in place of an answer. The vendor's own has no more than its words.
pub(super) fn refused(error: &Error) -> ErrorAnswer {
    let told = fault::Told::of(error);
    let mut body = json!({"message": told.message, "code": told.code});
    if let Some(param) = told.param {
        body["param"] = param.into();
    }
    if let Error::Vendor(vendor) = error {
        let kind = VendorError::code(vendor).filter(|_| vendor.fault().concerns_caller());
        if let Some(kind) = kind {
            body["error_type"] = kind.into();
        }
    }
    ErrorAnswer {
        status: fault::status(error),
        body: body.to_string().into(),
    }
}
