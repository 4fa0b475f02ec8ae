//! A reply as what is to be done on the socket.

use super::{Form, Framing, Reply};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

impl Reply {
    /// What is to be done on the socket. Ends with `Close` unless the connection stays.
    pub(in crate::testing) fn steps(self, head_only: bool) -> Vec<Step> {
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
pub(in crate::testing) enum Step {
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
