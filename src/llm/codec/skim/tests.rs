use super::*;
use proptest::prelude::*;
use serde_json::{Map, value::RawValue};
use std::collections::BTreeMap;

type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

fn fields(text: &[u8]) -> Option<(Fields<'_>, &[u8])> {
    let mut fields = Vec::new();
    let rest = object(text, |name, value| {
        fields.push((name, value));
        Some(())
    })?;
    Some((fields, rest))
}

#[test]
fn fields_are_given_in_order_and_to_the_byte() {
    let text = br#" {"a" : -1.5e+3 ,"b":[ {"c":"}\"\u00e9"} , [] ],"b":null} tail"#;
    let (fields, rest) = fields(text).unwrap();
    let expected: [(&[u8], &[u8]); 3] = [
        (b"a", b"-1.5e+3"),
        (b"b", br#"[ {"c":"}\"\u00e9"} , [] ]"#),
        (b"b", b"null"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(rest, b" tail");
}

#[test]
fn what_is_no_object_is_declined() {
    let broken: [&[u8]; 23] = [
        b"",
        b"[]",
        b"1",
        b"{",
        b"{}}}"[..1].as_ref(),
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{,}",
        b"{\"a\":01}",
        b"{\"a\":1.}",
        b"{\"a\":-}",
        b"{\"a\":1e}",
        b"{\"a\":tru}",
        b"{\"a\":[1,]}",
        b"{\"a\":[1}",
        b"{\"a\":{\"b\":1]}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"\\u12g4\"}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\xff\"}",
        b"{a:1}",
        b"{\"a\":+1}",
    ];
    for text in broken {
        assert_eq!(fields(text), None, "{}", text.escape_ascii());
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(fields(deep(100).as_bytes()).is_some());
    assert!(fields(deep(101).as_bytes()).is_none());
    assert!(fields(deep(1_000_000).as_bytes()).is_none());
}

#[test]
fn elements_of_an_array_are_given_in_order_and_to_the_byte() {
    let read = |text: &'static [u8]| {
        let mut all = Vec::new();
        let rest = array(text, |element| {
            all.push(element);
            Some(())
        })?;
        Some((all, rest))
    };
    let (all, rest) = read(br#" [ {"a":[1]} ,"]", [] ,null] tail"#).unwrap();
    let expected: [&[u8]; 4] = [br#"{"a":[1]}"#, br#""]""#, b"[]", b"null"];
    assert_eq!((&all[..], rest), (&expected[..], &b" tail"[..]));
    assert_eq!(read(b"[]").unwrap().0.len(), 0);
    for broken in [
        &b""[..],
        b"{}",
        b"[",
        b"[1",
        b"[1,]",
        b"[,]",
        b"[1 2]",
        b"[1}",
    ] {
        assert_eq!(read(broken), None, "{}", broken.escape_ascii());
    }
}

#[test]
fn numbers_are_read_as_far_as_they_fit() {
    let rest = &b","[..];
    assert_eq!(
        digits(b"1234567890123456789,"),
        Some((1234567890123456789, rest))
    );
    assert_eq!(digits(b"0,"), Some((0, rest)));
    assert_eq!(digits(b"1.0,"), Some((1, &b".0,"[..])), "which is no end");
    for other in [&b""[..], b"7", b"-1,", b"01,", b"12345678901234567890,"] {
        assert_eq!(digits(other), None);
    }
}

#[test]
fn strings_are_read_with_their_escapes() {
    let rest = &b",1"[..];
    for (json, told) in [
        (&br#""","#[..], Some("")),
        (br#""plain","#, Some("plain")),
        (
            br#""a\n\"\u00e9\ud83d\ude00","#,
            Some("a\n\"\u{e9}\u{1f600}"),
        ),
        ("\"d\u{e9}j\u{e0}\",".as_bytes(), Some("d\u{e9}j\u{e0}")),
        (br#""\ud800","#, None),
        (b"\"\xff\",", None),
        (br#""open"#, None),
        (b"1,", None),
    ] {
        let all = [json, b"1"].concat();
        let read = text(&all).map(|(text, rest)| (text.into_owned(), rest));
        let told = told.map(|told| (told.to_owned(), rest));
        assert_eq!(read, told, "{}", json.escape_ascii());
    }
}

#[test]
fn a_scalar_is_one_that_nobody_would_refuse() {
    for fine in ["\"a\"", "0", "1234567890123456789", "true", "false", "null"] {
        let all = format!("{fine},");
        assert_eq!(scalar(all.as_bytes()), Some(&b","[..]), "{fine}");
    }
    // Of a number the rest is left, which is no end of a value.
    assert_eq!(scalar(b"1e999,"), Some(&b"e999,"[..]));
    for other in [
        "\"\\ud800\"",
        "-1",
        "12345678901234567890",
        "nul",
        "{}",
        "[]",
        "",
    ] {
        assert_eq!(scalar(format!("{other},").as_bytes()), None, "{other}");
    }
}

#[test]
fn whoever_reads_a_value_says_where_it_ends() {
    let text = br#"{"a":{"b" : 12 },"c":["x"] , "d":3} tail"#;
    let mut found = Vec::new();
    let rest = super::fields(text, |name, text| match name {
        b"a" => super::fields(text, |_, text| {
            let (number, rest) = digits(text)?;
            found.push(number);
            Some(rest)
        }),
        b"d" => digits(text).map(|(number, rest)| {
            found.push(number);
            rest
        }),
        _ => skip(text),
    });
    assert_eq!((rest, found), (Some(&b" tail"[..]), vec![12, 3]));
    for broken in [&br#"{"a":1.5}"#[..], br#"{"a":1"#, br#"{"a":1 2}"#] {
        assert_eq!(super::fields(broken, |_, text| Some(digits(text)?.1)), None);
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| {
                serde_json::Value::Object(map.into_iter().collect::<Map<_, _>>())
            }),
        ]
    })
}

/// What serde_json makes of the same text.
fn judged(text: &[u8]) -> Option<BTreeMap<String, Box<RawValue>>> {
    serde_json::from_slice(text).ok()
}

proptest! {
    #[test]
    fn what_it_accepts_is_what_a_whole_reader_finds(
        value in prop::collection::btree_map("[a-z\\\\é]{0,8}", json(), 0..6),
        pretty in any::<bool>(),
        edit in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut text = match pretty {
            true => serde_json::to_vec_pretty(&value).unwrap(),
            false => serde_json::to_vec(&value).unwrap(),
        };
        if let Some((at, byte)) = edit {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Some((fields, rest)) = fields(&text)
            && is_blank(rest)
        {
            let whole = judged(&text);
            prop_assert!(whole.is_some(), "accepted what is no JSON: {}", text.escape_ascii());
            for (name, value) in fields {
                let name = std::str::from_utf8(name).unwrap();
                let of_whole = whole.as_ref().unwrap().get(name);
                prop_assert!(of_whole.is_some());
                // Of a field that stands there twice the last counts with a map.
                prop_assert!(serde_json::from_slice::<&RawValue>(value).is_ok());
            }
        }
    }

    #[test]
    fn documents_without_escaped_names_are_accepted(
        value in prop::collection::btree_map("[a-zé]{0,8}", json(), 0..6),
    ) {
        let text = serde_json::to_vec(&value).unwrap();
        let (fields, rest) = fields(&text).unwrap();
        prop_assert!(is_blank(rest));
        let whole = judged(&text).unwrap();
        prop_assert_eq!(fields.len(), whole.len());
        for (name, value) in fields {
            let name = std::str::from_utf8(name).unwrap();
            prop_assert_eq!(whole[name].get().as_bytes(), value);
        }
    }
}
