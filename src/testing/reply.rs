//! What a mock upstream answers, byte for byte.

mod steps;

pub(super) use self::steps::Step;
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
}

/// Empties the list.
fn joined(pieces: &mut Vec<Bytes>) -> Bytes {
    let mut pieces = std::mem::take(pieces);
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    pieces.concat().into()
}
