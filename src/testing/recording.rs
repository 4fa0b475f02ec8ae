//! Exchanges that were recorded once, and are answered again.

use super::{Reply, embedding};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{
    collections::BTreeMap,
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// One HTTP exchange, read from a file of JSON.
///
/// ```json
/// {
///   "case": "…", "provider": "openai", "endpoint": "chat_completions", "stream": true,
///   "request": { "method": "POST", "path": "/v1/chat/completions", "headers": {}, "body": {} },
///   "response": { "status": 200, "headers": {}, "sse": "data: …\n\n" }
/// }
/// ```
///
/// The answer's bytes are those of `sse`, `ndjson`, `text`, `eventstream_base64` or `body`, whichever
/// is there. A body of JSON is replayed as it is spelt in the file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recording {
    /// The file.
    pub path: PathBuf,
    /// Its name among those of its provider.
    pub case: String,
    /// Who answered.
    pub provider: String,
    /// What was called, such as `chat_completions`.
    pub endpoint: String,
    /// Whether the answer came as a stream.
    pub stream: bool,
    /// How near to the wire the recording is.
    pub fidelity: String,
    /// What it shows.
    pub features: Vec<String>,
    /// What was sent.
    pub request: RecordedRequest,
    /// What came back.
    pub response: RecordedResponse,
}

/// What was sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers, without credentials.
    pub headers: BTreeMap<String, String>,
    /// The body as it is spelt in the file; `None` where it is not known.
    pub body: Option<Bytes>,
}

/// What came back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The bytes.
    pub body: Bytes,
}

impl Recording {
    /// Reads one file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no recording.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let fail = |source| RecordingError {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(fail)?;
        let mut file: File = serde_json::from_str(&text).map_err(|error| fail(error.into()))?;
        let body = file.response.bytes().ok_or_else(|| {
            let message = "`eventstream_base64` is no base64";
            fail(io::Error::new(io::ErrorKind::InvalidData, message))
        })?;
        Ok(Self {
            path: path.to_owned(),
            case: file.case,
            provider: file.provider,
            endpoint: file.endpoint,
            stream: file.stream,
            fidelity: file.fidelity,
            features: file.features,
            request: RecordedRequest {
                method: file.request.method,
                path: file.request.path,
                headers: texts(file.request.headers),
                body: json(file.request.body.as_deref()),
            },
            response: RecordedResponse {
                status: file.response.status,
                headers: texts(file.response.headers),
                body,
            },
        })
    }

    /// Reads every file below a folder that ends in `.json` and holds a `response`, in the order of
    /// their paths.
    ///
    /// # Errors
    ///
    /// If one cannot be read, or is no recording.
    pub fn load_all(folder: impl AsRef<Path>) -> Result<Vec<Self>, RecordingError> {
        let mut paths = Vec::new();
        visit(folder.as_ref(), &mut paths)?;
        paths.sort();
        let mut recordings = Vec::new();
        for path in paths {
            match Self::load(&path) {
                Ok(recording) => recordings.push(recording),
                Err(error) if error.is_other_json(&path) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(recordings)
    }

    /// The answer again: status, headers and bytes. What framed or coded it on its way is left out.
    #[must_use]
    pub fn reply(&self) -> Reply {
        const FRAMING: [&str; 5] = [
            "connection",
            "content-encoding",
            "content-length",
            "keep-alive",
            "transfer-encoding",
        ];
        let bytes = self.response.body.clone();
        let headers = self.response.headers.iter();
        let kind = headers
            .clone()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map_or("application/octet-stream", |(_, value)| value);
        let reply = if self.stream {
            Reply::pieces(kind, [bytes]).with_status(self.response.status)
        } else {
            Reply::bytes(self.response.status, kind, bytes)
        };
        headers.fold(reply, |reply, (name, value)| {
            let lower = name.to_ascii_lowercase();
            if lower == "content-type" || FRAMING.contains(&lower.as_str()) {
                reply
            } else {
                reply.header(name, value)
            }
        })
    }
}

/// Why a file could not be read as a [`Recording`].
#[derive(Debug)]
pub struct RecordingError {
    path: PathBuf,
    source: io::Error,
}

impl RecordingError {
    /// Such as a manifest beside the recordings.
    fn is_other_json(&self, path: &Path) -> bool {
        let text = fs::read_to_string(path).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        value.is_object() && value.get("response").is_none()
    }
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the recording {}", self.path.display())
    }
}

impl Error for RecordingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    case: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    fidelity: String,
    #[serde(default)]
    features: Vec<String>,
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    body: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    sse: Option<String>,
    ndjson: Option<String>,
    text: Option<String>,
    eventstream_base64: Option<String>,
    body: Option<Box<RawValue>>,
}

impl Response {
    fn bytes(&mut self) -> Option<Bytes> {
        if let Some(frames) = &self.eventstream_base64 {
            return embedding::decode(frames).map(Into::into);
        }
        let text = self.sse.take().or(self.ndjson.take()).or(self.text.take());
        let bytes = text.map(Bytes::from);
        bytes
            .or_else(|| json(self.body.as_deref()))
            .or(Some(Bytes::new()))
    }
}

fn json(value: Option<&RawValue>) -> Option<Bytes> {
    let text = value?.get();
    (text != "null").then(|| Bytes::copy_from_slice(text.as_bytes()))
}

/// A header that is not text is told as JSON spells it.
fn texts(headers: BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let headers = headers.into_iter();
    let headers = headers.map(|(name, value)| match value {
        Value::String(text) => (name, text),
        other => (name, other.to_string()),
    });
    headers.collect()
}

fn visit(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), RecordingError> {
    let fail = |source| RecordingError {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            visit(&path, paths)?;
        } else if path.extension().is_some_and(|ext| ext == "json") {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::reply::Step;

    fn recording(response: &str) -> Recording {
        let folder = std::env::temp_dir().join(format!(
            "tower-gateway-recording-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir_all(&folder).unwrap();
        let file = format!(
            r#"{{"case":"c","provider":"p","stream":{},"request":{{"method":"POST","path":"/v1/x",
            "headers":{{}},"body":{{"b": 1,  "a": 2}}}},"response":{response}}}"#,
            response.contains("\"sse\":")
        );
        fs::write(folder.join("one.json"), file).unwrap();
        fs::write(folder.join("manifest.json"), r#"{"count":1}"#).unwrap();
        let mut all = Recording::load_all(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn json_is_replayed_as_it_is_spelt() {
        let recording = recording(
            r#"{"status":201,"headers":{"Content-Type":"application/json","transfer-encoding":"chunked","x-a":"b"},"body":{"z": 1,"a":1.50},"sse_info":null}"#,
        );
        assert_eq!(
            recording.request.body.as_deref(),
            Some(&br#"{"b": 1,  "a": 2}"#[..])
        );
        let steps = recording.reply().steps(false);
        let [Step::Write(head), Step::Write(body)] = &steps[..] else {
            panic!("{steps:?}")
        };
        assert_eq!(
            head,
            "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nx-a: b\r\ncontent-length: 17\r\n\r\n"
        );
        assert_eq!(body, r#"{"z": 1,"a":1.50}"#);
    }

    #[test]
    fn an_event_stream_keeps_its_bytes() {
        let recording = recording(
            r#"{"status":200,"headers":{"content-type":"text/event-stream"},"body":null,"sse":"data: 1\r\n\r\n: x\n\n"}"#,
        );
        assert_eq!(recording.reply().body(), "data: 1\r\n\r\n: x\n\n");
    }

    #[test]
    fn frames_are_decoded() {
        let recording = recording(r#"{"status":200,"headers":{},"eventstream_base64":"AAEC/w=="}"#);
        assert_eq!(recording.response.body, &[0, 1, 2, 255][..]);
    }
}
