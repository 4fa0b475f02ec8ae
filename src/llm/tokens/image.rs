//! What a picture costs, by the rules that the vendors publish, and how large it is.

use super::model::Family;
use crate::llm::message::Media;

/// How far into a JPEG its size may stand: behind a preview and a colour profile.
const FARTHEST: usize = 256 << 10;

/// A width and a height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Size {
    /// Read from the first bytes of a PNG, GIF, WebP or JPEG. `None` for pictures that are elsewhere.
    pub(super) fn of(media: &Media) -> Option<Self> {
        let base64 = match media {
            Media::Data { base64, .. } => base64,
            Media::Url(url) if url.starts_with("data:") => url
                .get(..256)
                .unwrap_or(url)
                .find(',')
                .map(|at| &url[at + 1..])?,
            _ => return None,
        };
        let head = decode(base64, 32);
        let size = match &*head {
            [0x89, b'P', b'N', b'G', ..] => Self::be(head.get(16..24)?),
            [b'G', b'I', b'F', b'8', ..] => Self::le(head.get(6..10)?),
            [b'R', b'I', b'F', b'F', ..] => Self::webp(&head),
            [0xff, 0xd8, ..] => Self::jpeg(&decode(base64, FARTHEST)),
            _ => None,
        }?;
        (size.width > 0 && size.height > 0).then_some(size)
    }

    fn be(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let &[width, height] = words else { return None };
        Some(Self {
            width: u32::from_be_bytes(width),
            height: u32::from_be_bytes(height),
        })
    }

    fn le(bytes: &[u8]) -> Option<Self> {
        let &[w0, w1, h0, h1] = bytes else {
            return None;
        };
        Some(Self {
            width: u16::from_le_bytes([w0, w1]).into(),
            height: u16::from_le_bytes([h0, h1]).into(),
        })
    }

    /// RFC 9649, and the bit streams that it names.
    fn webp(head: &[u8]) -> Option<Self> {
        match head.get(8..16)? {
            b"WEBPVP8 " => {
                let size = Self::le(head.get(26..30)?)?;
                Some(Self {
                    width: size.width & 0x3fff,
                    height: size.height & 0x3fff,
                })
            }
            b"WEBPVP8L" => {
                let bits = head.get(21..25)?.try_into().ok()?;
                let bits = u32::from_le_bytes(bits);
                Some(Self {
                    width: (bits & 0x3fff) + 1,
                    height: (bits >> 14 & 0x3fff) + 1,
                })
            }
            b"WEBPVP8X" => {
                let &[w0, w1, w2, h0, h1, h2] = head.get(24..30)? else {
                    return None;
                };
                Some(Self {
                    width: u32::from_le_bytes([w0, w1, w2, 0]) + 1,
                    height: u32::from_le_bytes([h0, h1, h2, 0]) + 1,
                })
            }
            _ => None,
        }
    }

    /// From the first start of a frame (ITU T.81, B.2.2).
    fn jpeg(bytes: &[u8]) -> Option<Self> {
        let mut at = 2;
        loop {
            let &[0xff, marker] = bytes.get(at..at + 2)? else {
                return None;
            };
            match marker {
                // Padding, and markers without a length.
                0xff => at += 1,
                0x01 | 0xd0..=0xd8 => at += 2,
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    let &[h0, h1, w0, w1] = bytes.get(at + 5..at + 9)? else {
                        return None;
                    };
                    return Some(Self {
                        width: u16::from_be_bytes([w0, w1]).into(),
                        height: u16::from_be_bytes([h0, h1]).into(),
                    });
                }
                _ => {
                    let &[l0, l1] = bytes.get(at + 2..at + 4)? else {
                        return None;
                    };
                    at += 2 + usize::from(u16::from_be_bytes([l0, l1])).max(2);
                }
            }
        }
    }

    /// Shrunk, never stretched, until it is at most so long and so wide.
    fn within(self, long: u32, short: u32) -> (f64, f64) {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let scale = (f64::from(long) / width.max(height)).min(1.0);
        let scale = (f64::from(short) / (width.min(height) * scale)).min(1.0) * scale;
        (width * scale, height * scale)
    }
}

/// The first so many bytes of what is in base64, up to the first character that is not.
fn decode(base64: &str, most: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(most.min(base64.len() / 4 * 3 + 3));
    let (mut bits, mut held) = (0_u32, 0);
    for byte in base64.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\r' | b'\n' => continue,
            _ => break,
        };
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            if bytes.len() == most {
                break;
            }
        }
    }
    bytes
}

/// What a picture of this size costs; of one that has not told its size, what one of 1024 × 1024
/// does.
pub(super) fn tokens(family: Family, model: &str, size: Option<Size>, detail: Option<&str>) -> u64 {
    let size = size.unwrap_or(Size {
        width: 1024,
        height: 1024,
    });
    match family {
        Family::OpenAi | Family::Other => openai(model, size, detail == Some("low")),
        Family::Anthropic => {
            let (width, height) = size.within(1568, 1568);
            ((width * height / 750.0).ceil() as u64).clamp(1, 1_600)
        }
        Family::Gemini => gemini(size),
        // A token for each 28 × 28 pixels, as these say of their open models.
        Family::Mistral | Family::Qwen | Family::Llama | Family::Cohere | Family::DeepSeek => {
            let (width, height) = size.within(1540, 1540);
            ((width / 28.0).ceil() * (height / 28.0).ceil()) as u64
        }
    }
}

/// Patches of 32 × 32 pixels for the small models since GPT-4.1, else tiles of 512 × 512.
fn openai(model: &str, size: Size, low: bool) -> u64 {
    let is = |prefix: &str| model.starts_with(prefix);
    let percent = match () {
        () if is("gpt-4.1-mini") || is("gpt-5-mini") => Some(162),
        () if is("gpt-4.1-nano") || is("gpt-5-nano") => Some(246),
        () if is("o4-mini") => Some(172),
        () => None,
    };
    if let Some(percent) = percent {
        let patch = |length: u32| u64::from(length.div_ceil(32));
        let patches = patch(size.width)
            .saturating_mul(patch(size.height))
            .min(1_536);
        return (patches * percent).div_ceil(100);
    }
    let (base, tile) = match () {
        () if is("gpt-4o-mini") => (2_833, 5_667),
        () if is("gpt-5") => (70, 140),
        () if is("o1") || is("o3") => (75, 150),
        () if is("computer-use-preview") => (65, 129),
        () => (85, 170),
    };
    if low {
        return base;
    }
    let square = size.within(2048, 2048);
    let scale = (768.0 / square.0.min(square.1)).min(1.0);
    let tiles = |length: f64| (length * scale / 512.0).ceil().max(1.0) as u64;
    base + tile * tiles(square.0) * tiles(square.1)
}

/// 258 for a small one; else for each tile, whose side is two thirds of the shorter one.
fn gemini(size: Size) -> u64 {
    if size.width <= 384 && size.height <= 384 {
        return 258;
    }
    let unit = (f64::from(size.width.min(size.height)) / 1.5)
        .floor()
        .clamp(256.0, 768.0);
    let tiles = |length: u32| (f64::from(length) / unit).ceil() as u64;
    258 * tiles(size.width)
        .saturating_mul(tiles(size.height))
        .min(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    fn base64(bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk
                .iter()
                .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - chunk.len()));
            for at in 0..=chunk.len() {
                text.push(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63].into());
            }
        }
        text
    }

    fn size(bytes: &[u8]) -> Option<(u32, u32)> {
        let media = Media::Data {
            mime: "image/*".into(),
            base64: base64(bytes),
        };
        let url = Media::Url(format!("data:image/png;base64,{}", base64(bytes)));
        assert_eq!(Size::of(&media), Size::of(&url));
        Size::of(&media).map(|size| (size.width, size.height))
    }

    #[test]
    fn the_size_stands_in_the_first_bytes() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x06";
        assert_eq!(size(png), Some((640, 480)));
        assert_eq!(size(b"GIF89a\x0a\0\x14\0\xf0"), Some((10, 20)));
        let lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\x30\x01\0\x9d\x01\x2a\x80\x02\xe0\x01";
        assert_eq!(size(lossy), Some((640, 480)));
        let lossless = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x7f\xc2\x77\0";
        assert_eq!(size(lossless), Some((640, 480)));
        let extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x7f\x02\0\xdf\x01\0";
        assert_eq!(size(extended), Some((640, 480)));
        let mut jpeg = b"\xff\xd8\xff\xe1\x75\x30".to_vec();
        jpeg.resize(jpeg.len() + 0x7530 - 2, 0);
        jpeg.extend(b"\xff\xff\xc2\0\x11\x08\x01\xe0\x02\x80\x03");
        assert_eq!(size(&jpeg), Some((640, 480)));
    }

    #[test]
    fn what_is_no_picture_has_no_size() {
        assert_eq!(size(b""), None);
        assert_eq!(size(b"%PDF-1.7"), None);
        assert_eq!(size(b"GIF89a\0\0\0\0"), None);
        assert_eq!(size(b"\xff\xd8\xff"), None);
        assert_eq!(size(b"\xff\xd8\x00\x00"), None);
        assert_eq!(Size::of(&Media::Url("https://x.test/a.png".into())), None);
        assert_eq!(Size::of(&Media::Id("file-1".into())), None);
    }

    #[test]
    fn pictures_cost_what_the_vendors_say() {
        let of = |family, model, width, height| {
            tokens(family, model, Some(Size { width, height }), Some("high"))
        };
        // The examples of OpenAI's documentation.
        assert_eq!(of(Family::OpenAi, "gpt-4o", 1024, 1024), 765);
        assert_eq!(of(Family::OpenAi, "gpt-4o", 2048, 4096), 1105);
        assert_eq!(
            of(Family::OpenAi, "gpt-4o-mini", 1024, 1024),
            2_833 + 4 * 5_667
        );
        assert_eq!(of(Family::OpenAi, "gpt-5", 1024, 1024), 70 + 4 * 140);
        assert_eq!(of(Family::OpenAi, "o1", 512, 512), 225);
        assert_eq!(of(Family::OpenAi, "gpt-4.1-mini", 1024, 1024), 1_659);
        assert_eq!(of(Family::OpenAi, "gpt-5-nano", 4096, 4096), 3_779);
        assert_eq!(tokens(Family::OpenAi, "gpt-4o", None, Some("low")), 85);
        assert_eq!(tokens(Family::OpenAi, "gpt-4o", None, None), 765);
        // Those of Anthropic's, which are rounded.
        assert_eq!(of(Family::Anthropic, "", 200, 200), 54);
        assert_eq!(of(Family::Anthropic, "", 1000, 1000), 1_334);
        assert_eq!(of(Family::Anthropic, "", 8000, 8000), 1_600);
        // That of Google's.
        assert_eq!(of(Family::Gemini, "", 384, 384), 258);
        assert_eq!(of(Family::Gemini, "", 960, 540), 6 * 258);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_size_or_none(kind in 0..5_usize, rest in any::<Vec<u8>>()) {
            let starts = ["\u{89}PNG", "GIF8", "RIFF\0\0\0\0WEBPVP8X", "ÿØÿ", ""];
            // Each character is a byte.
            let start: Vec<u8> = starts[kind].chars().map(|char| char as u8).collect();
            let _ = size(&[start, rest].concat());
        }

        #[test]
        fn any_size_has_a_cost(width in 1..u32::MAX, height in 1..u32::MAX) {
            let all = [
                Family::OpenAi, Family::Anthropic, Family::Gemini, Family::Mistral, Family::Other,
            ];
            for family in all {
                let cost = tokens(family, "gpt-4o", Some(Size { width, height }), None);
                prop_assert!((1..1_000_000).contains(&cost), "{:?} {}", family, cost);
            }
        }
    }
}
