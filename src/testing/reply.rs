//! What a mock upstream answers, byte for byte.

use bytes::{Bytes, BytesMut};
use std::{fmt, time::Duration};

/// A scripted answer.
///
/// Written as told: header names keep their case and order, no `date` is added, and every piece of
/// the body is one write on the socket and, where the body is chunked, one chunk.
#[derive(Clone, Debug)]
pub struct Reply {
    form: Form,
    delay: Duration,
    pace: Duration,
    cut: Option<usize>,
    stall: Option<usize>,
    close: bool,
}

#[derive(Clone, Debug)]
enum Form {
    Framed {
        status: u16,
        headers: Vec<(String, String)>,
        framing: Framing,
        pieces: Vec<Bytes>,
        trailers: Vec<(String, String)>,
    },
    Raw(Vec<Bytes>),
    Endless {
        start: Bytes,
        again: Bytes,
    },
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
}

impl Reply {
    /// A body of JSON, as it displays: a `serde_json::Value`, or a string that goes out verbatim.
    #[must_use]
    pub fn json(status: u16, body: impl fmt::Display) -> Self {
        Self::bytes(status, "application/json", format!("{body}"))
    }

    /// A body of any type, under a `content-length`.
    #[must_use]
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let reply = Self::framed(status, Framing::Length, vec![body.into()]);
        reply.header("content-type", content_type)
    }

    /// A status without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::framed(status, Framing::Length, Vec::new())
    }

    /// 200 and an event stream: each item is the data of one event, in one piece.
    ///
    /// An item of several lines becomes one event of several `data:` lines.
    #[must_use]
    pub fn stream<I>(events: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let pieces = events.into_iter().map(|event| {
            let mut piece = String::new();
            for line in event.as_ref().split('\n') {
                piece.push_str("data: ");
                piece.push_str(line);
                piece.push('\n');
            }
            piece.push('\n');
            piece
        });
        Self::pieces("text/event-stream", pieces)
    }

    /// 200 and a chunked body of these pieces, verbatim. Empty ones are left out.
    #[must_use]
    pub fn pieces<I>(content_type: &str, pieces: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Bytes>,
    {
        let pieces = pieces.into_iter().map(Into::into);
        let pieces = pieces.filter(|piece| !piece.is_empty()).collect();
        let reply = Self::framed(200, Framing::Chunked, pieces);
        reply.header("content-type", content_type)
    }

    /// These bytes and nothing else, head included; then the connection is closed.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::new(Form::Raw(vec![bytes.into()]))
    }

    /// Closes the connection without a byte.
    #[must_use]
    pub fn hang_up() -> Self {
        Self::raw(Bytes::new())
    }

    /// Takes the request and never answers.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Form::Silent)
    }

    /// The error page of some proxy in between: HTML under a 502.
    #[must_use]
    pub fn html_502() -> Self {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
        Self::bytes(502, "text/html", page)
    }

    /// The same in other words: of an answer in one piece, its status and body.
    pub(super) fn reworded(mut self, reword: impl FnOnce(u16, &[u8]) -> (u16, String)) -> Self {
        if let Form::Framed { status, pieces, .. } = &mut self.form {
            let (new, body) = reword(*status, &pieces.concat());
            (*status, *pieces) = (new, vec![body.into()]);
        }
        self
    }

    /// The value of a header that was added.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        let Form::Framed { headers, .. } = &self.form else {
            return None;
        };
        let mut headers = headers.iter();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }

    /// The same without other headers than these.
    pub(super) fn only(mut self, names: &[&str]) -> Self {
        if let Form::Framed { headers, .. } = &mut self.form {
            headers.retain(|(name, _)| names.contains(&&**name));
        }
        self
    }

    /// 200, and an event stream whose first line never ends.
    #[must_use]
    pub fn endless_line() -> Self {
        let start = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                     transfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n";
        let mut again = BytesMut::from(&b"4000\r\n"[..]);
        again.resize(again.len() + 0x4000, b'a');
        again.extend_from_slice(b"\r\n");
        Self::endless(start, again)
    }

    /// 200, and a header that never ends.
    #[must_use]
    pub fn endless_head() -> Self {
        Self::endless("HTTP/1.1 200 OK\r\nx-endless: ", vec![b'a'; 0x4000])
    }

    /// `start`, and then `again` over and over until the client hangs up.
    #[must_use]
    pub fn endless(start: impl Into<Bytes>, again: impl Into<Bytes>) -> Self {
        let (start, again) = (start.into(), again.into());
        Self::new(Form::Endless { start, again })
    }

    fn framed(status: u16, framing: Framing, pieces: Vec<Bytes>) -> Self {
        Self::new(Form::Framed {
            status,
            headers: Vec::new(),
            framing,
            pieces,
            trailers: Vec::new(),
        })
    }

    fn new(form: Form) -> Self {
        Self {
            form,
            delay: Duration::ZERO,
            pace: Duration::ZERO,
            cut: None,
            stall: None,
            close: false,
        }
    }

    /// Adds a header, after those that are there.
    ///
    /// Whoever names `content-length` or `transfer-encoding` frames the body too: none is added,
    /// and the pieces go out as they are. A raw reply has no headers.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Form::Framed { headers, .. } = &mut self.form {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Adds a trailer, which makes the body chunked.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        let form = &mut self.form;
        if let Form::Framed {
            trailers, framing, ..
        } = form
        {
            trailers.push((name.to_owned(), value.to_owned()));
            *framing = Framing::Chunked;
        }
        self
    }

    /// Another status. Raw bytes keep theirs.
    #[must_use]
    pub fn with_status(mut self, code: u16) -> Self {
        if let Form::Framed { status, .. } = &mut self.form {
            *status = code;
        }
        self
    }

    /// Waits before the first byte.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits before every piece of the body but the first.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Makes pieces of `n` bytes of the whole body. Zero is taken as one.
    #[must_use]
    pub fn split_every(mut self, n: usize) -> Self {
        if let Some(pieces) = self.body_mut() {
            let mut whole = joined(pieces);
            while !whole.is_empty() {
                pieces.push(whole.split_to(n.max(1).min(whole.len())));
            }
        }
        self
    }

    /// Adds one more boundary between pieces, after `at` bytes of the body.
    #[must_use]
    pub fn split_at(mut self, mut at: usize) -> Self {
        if let Some(pieces) = self.body_mut() {
            for place in 0..pieces.len() {
                let length = pieces[place].len();
                if at < length {
                    if at > 0 {
                        let rest = pieces[place].split_off(at);
                        pieces.insert(place + 1, rest);
                    }
                    break;
                }
                at -= length;
            }
        }
        self
    }

    /// Closes the connection after `n` bytes of the body, without what ends a chunked one. Of raw
    /// bytes, the head counts too.
    #[must_use]
    pub fn cut_after(mut self, n: usize) -> Self {
        self.cut = Some(n);
        self
    }

    /// Sends nothing more after `n` bytes of the body, and keeps the connection. Of raw bytes, the
    /// head counts too.
    #[must_use]
    pub fn stall_after(mut self, n: usize) -> Self {
        self.stall = Some(n);
        self
    }

    /// Closes the connection after the answer without having said so, as servers do whose
    /// keep-alive ran out.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The body as it was scripted, before any cut; a reply without end has none.
    #[must_use]
    pub fn body(&self) -> Bytes {
        match &self.form {
            Form::Framed { pieces, .. } | Form::Raw(pieces) => joined(&mut pieces.clone()),
            Form::Endless { .. } | Form::Silent => Bytes::new(),
        }
    }

    fn body_mut(&mut self) -> Option<&mut Vec<Bytes>> {
        match &mut self.form {
            Form::Framed { pieces, .. } | Form::Raw(pieces) => Some(pieces),
            Form::Endless { .. } | Form::Silent => None,
        }
    }

    /// What is to be done on the socket. Ends with `Close` unless the connection stays.
    pub(super) fn steps(self, head_only: bool) -> Vec<Step> {
        let mut steps = Steps(Vec::new());
        steps.wait(self.delay);
        let limit = match (self.cut, self.stall) {
            (Some(cut), Some(stall)) if cut <= stall => Some((cut, Step::Close)),
            (_, Some(stall)) => Some((stall, Step::Stall)),
            (Some(cut), None) => Some((cut, Step::Close)),
            (None, None) => None,
        };
        match self.form {
            Form::Silent => steps.0.push(Step::Stall),
            Form::Endless { start, again } => {
                steps.write(start);
                steps.0.push(Step::Endless(again));
            }
            Form::Raw(pieces) => {
                if !steps.body(pieces, self.pace, limit, false) {
                    steps.0.push(Step::Close);
                }
            }
            Form::Framed {
                status,
                headers,
                framing,
                pieces,
                trailers,
            } => {
                let own = headers.iter().any(|(name, _)| {
                    name.eq_ignore_ascii_case("content-length")
                        || name.eq_ignore_ascii_case("transfer-encoding")
                });
                let bare = matches!(status, 100..=199 | 204 | 304);
                let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
                for (name, value) in &headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if !own && !bare {
                    head.push_str(&match framing {
                        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
                        Framing::Length => {
                            let length: usize = pieces.iter().map(Bytes::len).sum();
                            format!("content-length: {length}\r\n")
                        }
                    });
                }
                head.push_str("\r\n");
                steps.write(head.into());
                let chunked = !own && framing == Framing::Chunked;
                if !bare && !head_only && !steps.body(pieces, self.pace, limit, chunked) && chunked
                {
                    let mut end = String::from("0\r\n");
                    for (name, value) in &trailers {
                        end.push_str(&format!("{name}: {value}\r\n"));
                    }
                    end.push_str("\r\n");
                    steps.write(end.into());
                }
            }
        }
        if self.close {
            steps.0.push(Step::Close);
        }
        steps.0
    }
}

/// One thing to do on the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait(Duration),
    Write(Bytes),
    /// Over and over.
    Endless(Bytes),
    /// Nothing, until the client goes.
    Stall,
    Close,
}

struct Steps(Vec<Step>);

impl Steps {
    fn wait(&mut self, time: Duration) {
        if time > Duration::ZERO {
            self.0.push(Step::Wait(time));
        }
    }

    fn write(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.0.push(Step::Write(bytes));
        }
    }

    /// True if the limit ended the body.
    fn body(
        &mut self,
        pieces: Vec<Bytes>,
        pace: Duration,
        limit: Option<(usize, Step)>,
        chunked: bool,
    ) -> bool {
        let mut left = limit.as_ref().map_or(usize::MAX, |(n, _)| *n);
        for (index, mut piece) in pieces.into_iter().enumerate() {
            if left == 0 {
                break;
            }
            if index > 0 {
                self.wait(pace);
            }
            piece.truncate(left);
            left -= piece.len();
            if !chunked {
                self.write(piece);
            } else if !piece.is_empty() {
                let mut chunk = BytesMut::from(format!("{:x}\r\n", piece.len()).as_bytes());
                chunk.extend_from_slice(&piece);
                chunk.extend_from_slice(b"\r\n");
                self.write(chunk.freeze());
            }
        }
        let ended = limit.map(|(_, step)| self.0.push(step));
        ended.is_some()
    }
}

/// Empties the list.
fn joined(pieces: &mut Vec<Bytes>) -> Bytes {
    let mut pieces = std::mem::take(pieces);
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    pieces.concat().into()
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(reply: Reply) -> Vec<String> {
        let steps = reply.steps(false).into_iter();
        let writes = steps.filter_map(|step| match step {
            Step::Write(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            _ => None,
        });
        writes.collect()
    }

    #[test]
    fn json_is_verbatim_under_its_length() {
        let reply = Reply::json(201, r#"{"b":1, "a":2}"#).header("X-Case", "Kept");
        let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nX-Case: Kept\r\n\
                    content-length: 14\r\n\r\n";
        assert_eq!(writes(reply), [head, r#"{"b":1, "a":2}"#]);
    }

    #[test]
    fn each_event_is_one_write_and_one_chunk() {
        let writes = writes(Reply::stream(["{}", "a\nb", "[DONE]"]));
        assert_eq!(
            writes[1..],
            [
                "a\r\ndata: {}\n\n\r\n",
                "11\r\ndata: a\ndata: b\n\n\r\n",
                "e\r\ndata: [DONE]\n\n\r\n",
                "0\r\n\r\n",
            ]
        );
    }

    #[test]
    fn a_body_splits_at_every_byte() {
        let whole = Reply::stream(["one", "two"]).body();
        for n in 1..=whole.len() {
            let reply = Reply::stream(["one", "two"]).split_every(n);
            assert_eq!(reply.body(), whole);
            assert_eq!(writes(reply).len(), 2 + whole.len().div_ceil(n));
        }
        for at in 0..=whole.len() + 1 {
            let reply = Reply::stream(["one", "two"]).split_at(at);
            assert_eq!(reply.body(), whole);
            let inside = at > 0 && at < whole.len() && at != whole.len() / 2;
            assert_eq!(writes(reply).len(), if inside { 5 } else { 4 }, "{at}");
        }
    }

    #[test]
    fn a_cut_leaves_out_the_end() {
        let steps = Reply::stream(["one", "two"]).cut_after(12).steps(false);
        assert_eq!(
            steps[1..],
            [
                Step::Write("b\r\ndata: one\n\n\r\n".into()),
                Step::Write("1\r\nd\r\n".into()),
                Step::Close,
            ]
        );
    }

    #[test]
    fn a_stall_keeps_the_connection() {
        let steps = Reply::json(200, "{}").stall_after(0).steps(false);
        assert_eq!(steps[1..], [Step::Stall]);
    }

    #[test]
    fn time_goes_before_the_head_and_between_pieces() {
        let second = Duration::from_secs(1);
        let reply = Reply::stream(["a", "b"]).delay(second).pace(second);
        let steps = reply.steps(false);
        let waits: Vec<_> = steps.iter().map(|s| matches!(s, Step::Wait(_))).collect();
        assert_eq!(waits, [true, false, false, true, false, false]);
    }

    #[test]
    fn whoever_names_the_length_frames_the_body() {
        let reply = Reply::stream(["a"]).header("Content-Length", "9999");
        let writes = writes(reply);
        assert!(!writes[0].contains("chunked"));
        assert_eq!(writes[1..], ["data: a\n\n"]);
    }

    #[test]
    fn a_head_alone_tells_the_length_of_the_body() {
        let steps = Reply::json(200, "{}").steps(true);
        let [Step::Write(head)] = &steps[..] else {
            panic!("{steps:?}")
        };
        assert!(head.ends_with(b"content-length: 2\r\n\r\n"));
    }

    #[test]
    fn no_content_has_no_framing() {
        let writes = writes(Reply::status(204));
        assert_eq!(writes, ["HTTP/1.1 204 No Content\r\n\r\n"]);
    }

    #[test]
    fn trailers_follow_the_last_chunk() {
        let writes = writes(Reply::json(200, "{}").trailer("grpc-status", "13"));
        assert_eq!(writes[1..], ["2\r\n{}\r\n", "0\r\ngrpc-status: 13\r\n\r\n"]);
    }
}
