//! Pictures, sounds and documents: bytes, and what the vendor calls their formats.

use crate::{Rejection, llm::Media, rejection::Kind};

/// The media type and the bytes in base64.
///
/// # Errors
///
/// If they are not here. The vendor takes nothing from the web, and the gateway fetches nothing. What the
/// vendor does take is a bucket, which it would open with the gateway's credentials, whoever named it.
pub(super) fn bytes<'a>(media: &'a Media, place: &str) -> Result<(&'a str, &'a str), Rejection> {
    let detail = match media {
        Media::Data { mime, base64 } => return Ok((mime, base64)),
        Media::Url(_) => {
            "The provider takes it as bytes, and not by an address. Send it as base64: the gateway \
             fetches nothing."
        }
        Media::Id(_) => "The provider has no such file. Send it as base64.",
    };
    Err(Rejection::new(Kind::UnsupportedParameter)
        .with_param(place)
        .with_detail(detail))
}

/// The second half of a media type, or the name of a format, without parameters.
fn subtype(mime: &str) -> &str {
    let bare = mime.split(';').next().unwrap_or(mime).trim();
    bare.rsplit('/').next().unwrap_or(bare)
}

pub(super) fn image(mime: &str) -> Option<&'static str> {
    Some(match subtype(mime) {
        "png" => "png",
        "jpeg" | "jpg" => "jpeg",
        "gif" => "gif",
        "webp" => "webp",
        _ => return None,
    })
}

pub(super) fn audio(mime: &str) -> Option<&'static str> {
    Some(match subtype(mime) {
        "mp3" => "mp3",
        "mpeg" => "mpeg",
        "wav" | "x-wav" | "wave" => "wav",
        "flac" | "x-flac" => "flac",
        "opus" => "opus",
        "ogg" => "ogg",
        "aac" => "aac",
        "x-aac" => "x-aac",
        "m4a" | "x-m4a" => "m4a",
        "mp4" => "mp4",
        "webm" => "webm",
        "pcm" | "pcm16" | "l16" | "L16" => "pcm",
        _ => return None,
    })
}

/// By its type, and where that tells nothing, by the end of its name.
pub(super) fn document(mime: &str, name: Option<&str>) -> Option<&'static str> {
    Some(match subtype(mime) {
        "pdf" => "pdf",
        "csv" => "csv",
        "html" => "html",
        "markdown" | "x-markdown" => "md",
        "msword" => "doc",
        "vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "vnd.ms-excel" => "xls",
        "vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "" | "octet-stream" => match name.and_then(|name| name.rsplit_once('.')) {
            Some((_, end)) => match &*end.to_ascii_lowercase() {
                "pdf" => "pdf",
                "csv" => "csv",
                "html" | "htm" => "html",
                "md" => "md",
                "txt" => "txt",
                "doc" => "doc",
                "docx" => "docx",
                "xls" => "xls",
                "xlsx" => "xlsx",
                _ => return None,
            },
            // What clients of the others may leave out.
            None if mime.is_empty() => "pdf",
            None => return None,
        },
        _ if mime.starts_with("text/") => "txt",
        _ => return None,
    })
}
