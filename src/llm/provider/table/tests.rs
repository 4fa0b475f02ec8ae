use super::*;

#[test]
fn bases_are_what_the_vendors_programs_make_of_them() {
    for (vendor, said, base) in [
        (
            OPENAI,
            "https://api.openai.com/v1/",
            "https://api.openai.com/v1",
        ),
        (
            GROQ,
            "https://api.groq.com",
            "https://api.groq.com/openai/v1",
        ),
        (
            GROQ,
            "https://api.groq.com/openai/v1",
            "https://api.groq.com/openai/v1",
        ),
        (
            ANTHROPIC,
            "https://api.anthropic.com/",
            "https://api.anthropic.com/v1",
        ),
        (
            GEMINI,
            "https://generativelanguage.googleapis.com/",
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        (OLLAMA, "", "http://127.0.0.1:11434/v1"),
        (OLLAMA, "box", "http://box:11434/v1"),
        (OLLAMA, "box:80/", "http://box:80/v1"),
        (OLLAMA, "0.0.0.0:8080", "http://127.0.0.1:8080/v1"),
        (OLLAMA, "11435", "http://127.0.0.1:11435/v1"),
        (OLLAMA, "[::1]", "http://[::1]:11434/v1"),
        (OLLAMA, "https://ollama.com", "https://ollama.com/v1"),
    ] {
        assert_eq!(vendor.base(said).unwrap().to_string(), base, "{said}");
    }
}

#[test]
fn every_row_is_one_that_can_be_called() {
    for vendor in Vendor::ALL {
        assert!(vendor.default_base().is_ok(), "{}", vendor.name);
        let named = |char: char| char.is_ascii_lowercase() || char == '-' || char == '_';
        assert!(vendor.name.chars().all(named), "{}", vendor.name);
    }
    let verified = Vendor::ALL.iter().filter(|vendor| vendor.verified).count();
    assert!(verified >= 20, "{verified}");
}

#[test]
fn the_table_for_people_is_the_table() {
    let text = include_str!("../table.rs");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("/// | `"))
        .collect();
    assert_eq!(lines.len(), Vendor::ALL.len());
    for (line, vendor) in lines.iter().zip(Vendor::ALL) {
        let key = vendor.key_variable;
        let other = vendor.other_key_variable;
        let other = other.map_or(String::new(), |other| format!(" or `{other}`"));
        let (name, url) = (vendor.name, vendor.url_variable);
        let verified = if vendor.verified { "" } else { "no" };
        let speaks = vendor.protocol;
        let row = format!("/// | `{name}` | {speaks:?} | `{key}`{other} | `{url}` | {verified} |");
        assert_eq!(*line, row);
    }
}

#[test]
fn no_two_rows_share_a_name_or_a_variable() {
    let mut seen = std::collections::BTreeSet::new();
    for vendor in Vendor::ALL {
        assert!(seen.insert(vendor.name), "{}", vendor.name);
        let variables = [Some(vendor.key_variable), vendor.other_key_variable];
        for variable in variables.into_iter().flatten().chain([vendor.url_variable]) {
            assert!(seen.insert(variable), "{variable}");
        }
    }
}

#[test]
fn addresses_are_made_of_what_people_have() {
    for (vendor, said, base) in [
        (
            AZURE,
            "https://r.openai.azure.com/",
            "https://r.openai.azure.com/openai/v1",
        ),
        (
            AZURE,
            "https://r.openai.azure.com/openai/v1/",
            "https://r.openai.azure.com/openai/v1",
        ),
        (
            CEREBRAS,
            "https://api.cerebras.ai",
            "https://api.cerebras.ai/v1",
        ),
        (
            unverified::CLOUDFLARE,
            "0123abc",
            "https://api.cloudflare.com/client/v4/accounts/0123abc/ai/v1",
        ),
        (
            unverified::CLOUDFLARE,
            "https://gateway.example.com/ai/v1",
            "https://gateway.example.com/ai/v1",
        ),
        (
            unverified::DATABRICKS,
            "https://dbc.cloud.databricks.com/",
            "https://dbc.cloud.databricks.com/serving-endpoints",
        ),
    ] {
        assert_eq!(vendor.base(said).unwrap().to_string(), base, "{said}");
    }
    assert!(unverified::CLOUDFLARE.base("a/b").is_err());
    assert!(AZURE.needs_address() && AZURE.base("r").is_err());
}
