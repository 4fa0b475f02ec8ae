use super::*;

#[test]
fn tokens_are_all_of_the_text() {
    for text in [
        "",
        "a",
        "  two  words ",
        "extraordinarily",
        "äöüäöüäöü\n\n日本語",
    ] {
        let cut: Vec<_> = tokens(text).collect();
        assert_eq!(cut.concat(), text);
        assert!(
            cut.iter()
                .all(|token| token.trim_start().chars().count() <= 8)
        );
    }
    assert_eq!(
        tokens("a simulator").collect::<Vec<_>>(),
        ["a", " simulato", "r"]
    );
}

#[test]
fn texts_that_share_words_are_near() {
    let near = |a: &str, b: &str| -> f32 {
        let (a, b) = (embedding::of_text(a, 256), embedding::of_text(b, 256));
        a.iter().zip(&b).map(|(a, b)| a * b).sum()
    };
    let cat = "The cat sits on the mat";
    assert!(
        near(cat, "A cat sat on the mat") > near(cat, "Interest rates rose by a quarter") + 0.3
    );
    assert!((near(cat, cat) - 1.0).abs() < 1e-5);
    assert!(near("run", "running") > near("run", "table"));
}

#[test]
fn patterns_are_met() {
    for (pattern, text) in [
        ("^[A-Z]{3}-\\d{4}$", "AAA-0000"),
        ("^(?:USD|EUR)$", "USD"),
        ("^\\+?[1-9]\\d{1,14}$", "10"),
        ("[^a-c]x+", "dx"),
        ("^#([0-9a-f]{6}|[0-9a-f]{3})$", "#000000"),
        ("^\\w+@\\w+\\.com$", "a@a.com"),
        ("^[\\w.-]+$", "a"),
        ("^[]a]b*$", "]"),
    ] {
        assert_eq!(
            pattern::text(pattern, 0).as_deref(),
            Some(text),
            "{pattern}"
        );
    }
    assert_eq!(pattern::text("^(?:USD|EUR)$", 1).as_deref(), Some("EUR"));
    assert_eq!(
        pattern::of_length("^[a-z]+$", 0, 5).as_deref(),
        Some("aaaaa")
    );
    for unknown in [
        "(?=a)",
        "(a",
        "a{3,1}",
        "*",
        "\\p{L}",
        "(a)\\1",
        "a{999999999}",
    ] {
        assert_eq!(pattern::text(unknown, 0), None, "{unknown}");
    }
}
