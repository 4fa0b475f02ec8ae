use super::*;
use std::time::Duration;

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;b.wav\"\r\nContent-Type: audio/wav\r\n\r\n\r\n--bb\r\n--\0\r\n--b \t\r\ncontent-disposition:form-data;name=model\r\n\r\nwhisper-1\r\n--b\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--b--\r\nepilogue";

struct Pieces(Vec<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = (!self.0.is_empty()).then(|| Ok(Frame::data(self.0.remove(0))));
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

fn pieces(text: &str, size: usize) -> Pieces {
    let chunks = text.as_bytes().chunks(size);
    Pieces(chunks.map(Bytes::copy_from_slice).collect())
}

async fn form(text: &str, size: usize, bytes: usize) -> Result<Form, Rejection> {
    let time = Duration::from_secs(1);
    let bounds = Bounds { bytes, time };
    read(pieces(text, size), &HeaderMap::new(), "b", bounds).await
}

#[tokio::test]
async fn the_model_is_found_however_the_bytes_come_and_the_rest_is_not_held() {
    // What begins as the boundary and goes on otherwise is refused: here it is not.
    let text = FORM.replace("\r\n--bb\r\n--\0", "\r\n--\r\n-\0");
    for size in 1..=text.len() {
        let form = form(&text, size, 1000).await.unwrap();
        let (name, range) = form.model.unwrap();
        assert_eq!(name, "whisper-1");
        assert_eq!(&form.held[range.clone()], b"whisper-1");
        assert!(form.held.len() < range.end + 5 + size);
        let rest = form.upload.take().unwrap().unwrap_or_default();
        let rest = crate::collect(rest, 1000).await.unwrap();
        assert_eq!([form.held, rest].concat(), text.as_bytes(), "{size}");
        assert!(form.upload.take().is_err() || size + range.end > text.len());
    }
}

#[tokio::test]
async fn what_readers_differ_in_is_refused() {
    let part = |head: &str, value: &str| format!("--b\r\n{head}\r\n\r\n{value}\r\n");
    let model = |value: &str| part("Content-Disposition: form-data; name=\"model\"", value);
    let file = part(
        "Content-Disposition: form-data; name=\"file\"; filename=\"model\"",
        "x",
    );
    for (text, detail) in [
        (
            FORM.to_owned(),
            "What stands behind a boundary is no end of line.",
        ),
        (model("a") + &model("b"), "The form names a model twice."),
        (
            model(&"a".repeat(300)),
            "Expected the name of a model, of at most 256 bytes.",
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"model\"; filename=\"x\"",
                "a",
            ),
            "Expected the name of a model as a plain field.",
        ),
        (
            model("a") + &part("Content-Disposition: form-data;\r\n\tname=\"model\"", "b"),
            "A head has a line that is no field.",
        ),
        (
            model("a") + &part("x: y\nContent-Disposition: form-data; name=\"model\"", "b"),
            "A head has a line that is no field.",
        ),
        (
            model("a")
                + &part(
                    "Content-Disposition: form-data; name=\"x\"; name=\"model\"",
                    "b",
                ),
            "A field is named in a way that readers differ in.",
        ),
        (
            model("a") + &part("x: y", "z\n--b\r\n\r\n"),
            "A boundary does not stand behind an end of line.",
        ),
        (
            model("a") + &part("x: y", "--b\r\n\r\n"),
            "A boundary does not stand behind an end of line.",
        ),
        (
            model("a") + &part("Content-Disposition: form-data; name*0=\"model\"", "b"),
            "A field is named in a way that readers differ in.",
        ),
        (
            model("a")
                + &part(
                    "Content-Disposition: form-data; name=\"x\"; Name*=utf-8''model",
                    "b",
                ),
            "A field is named in a way that readers differ in.",
        ),
        (
            part(&"x: y\r\n".repeat(2000), "a"),
            "The head of a field is longer than 8 KiB.",
        ),
    ] {
        let refused = form(&(text + "--b--"), 9999, 99_999).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidRequest);
        assert!(refused.message().contains(detail), "{refused}");
    }
    // A second name that comes later breaks the rest off.
    let text = model("a") + &file + &model("b") + "--b--";
    let form = form(&text, 100, 9999).await.unwrap();
    assert_eq!(form.model.unwrap().0, "a");
    let rest = crate::collect(form.upload.take().unwrap().unwrap(), 9999).await;
    assert!(matches!(rest, Err(crate::CollectError::Broken(_))));
}

#[tokio::test]
async fn white_space_behind_a_boundary_has_an_end_wherever_it_is_cut() {
    let form_of = |spaces: usize| {
        let padding = " \t".repeat(spaces).split_off(spaces);
        format!("--b{padding}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--b--")
    };
    for (spaces, fits) in [(0, true), (256, true), (257, false), (5000, false)] {
        let text = form_of(spaces);
        for size in (1..300).chain([text.len()]) {
            match form(&text, size, 9999).await {
                Ok(form) => assert!(fits && form.model.unwrap().0 == "a", "{spaces} {size}"),
                Err(refused) => {
                    assert!(!fits, "{spaces} {size}");
                    assert_eq!(refused.kind(), Kind::InvalidRequest);
                    let detail = "More than 256 bytes of white space stand behind a boundary.";
                    assert!(refused.message().contains(detail), "{refused}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_head_has_the_same_end_wherever_it_is_cut() {
    for (length, fits) in [(8192, true), (8193, false)] {
        let head = "Content-Disposition: form-data; name=\"model\"\r\nx: ";
        let head = format!("{head:y<width$}\r\n", width = length - 2);
        assert_eq!(head.len(), length);
        let text = format!("--b\r\n{head}\r\na\r\n--b--");
        for size in [
            1, 2, 3, 4, 5, 8190, 8191, 8192, 8193, 8194, 8195, 8196, 8197, 9999,
        ] {
            let read = form(&text, size, 19_999).await;
            assert_eq!(read.is_ok(), fits, "{length} {size}");
        }
    }
}

/// However small the pieces are in which it comes.
#[test]
fn a_byte_is_looked_at_no_more_often_than_the_boundary_is_long() {
    let part = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n";
    for (before, again) in [
        (part, "a"),
        (part, "\r\n--"),
        (part, "\r"),
        ("", "--b\r\na: b\r\n\r\n\r\n"),
        ("", "--b\r\n\r\n\r\n"),
        ("--b--", "\r\n--b"),
        ("--b\r\n", &("x: y\r\n".repeat(1300) + "\r\n\r\n--b\r\n")),
    ] {
        let looked = |count: usize| {
            let mut scanner = Scanner::new("b");
            let text = before.to_owned() + &again.repeat(count);
            for byte in text.as_bytes().chunks(1) {
                scanner.push(byte).unwrap();
            }
            assert!(scanner.looked <= text.len() * 8, "{again:?}");
            scanner.looked
        };
        let (once, twice) = (looked(100), looked(200));
        assert!(twice <= once * 2, "{again:?}: {once}, {twice}");
    }
}

#[tokio::test]
async fn a_form_is_bounded_also_while_it_is_passed_on() {
    let refused = form(FORM, 10, 50).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::TooLarge);
    let model = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--b\r\n";
    let text = model.to_owned() + &"x: y".repeat(1000);
    let form = form(&text, 100, 500).await.unwrap();
    let rest = crate::collect(form.upload.take().unwrap().unwrap(), 9999).await;
    assert!(matches!(rest, Err(crate::CollectError::Broken(_))));
}

#[test]
fn boundaries_are_read_from_the_content_type() {
    for (content, boundary_) in [
        ("multipart/form-data; boundary=abc", Some(Some("abc"))),
        (
            "Multipart/Form-Data;charset=utf-8; Boundary=\"a b\\\"c\"",
            Some(Some("a b\"c")),
        ),
        ("multipart/form-data", Some(None)),
        ("multipart/form-data; boundary=a; boundary=b", Some(None)),
        ("multipart/form-data; boundary=", Some(None)),
        ("application/json", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content.parse().unwrap());
        let read = boundary(&headers).map(Result::ok);
        assert_eq!(read, boundary_.map(|it| it.map(str::to_owned)), "{content}");
    }
}
