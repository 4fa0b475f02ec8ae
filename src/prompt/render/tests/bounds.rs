//! How much templates and variables may do.

use super::*;

#[test]
fn no_template_goes_on_for_ever_or_fills_the_memory() {
    let long = "x".repeat(100_000);
    let list: Vec<_> = (0..5_000).collect();
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}";
    for template in [
        nested,
        "{% for a in range(9999) %}{{ text }}{% endfor %}",
        "{% for a in range(9999) %}{% if text|replace('x', text) == '' %}{% endif %}{% endfor %}",
        "{{ text|replace('x', text)|replace('x', text)|replace('x', text) }}",
        "{{ text|replace('', text) }}",
        "{% for a in list %}{% for b in list %}{{ a == b }}{% endfor %}{% endfor %}",
        "{% for a in list %}{{ list|join(text)|length }}{% endfor %}",
        "{% for a in list %}{{ list|tojson|length }}{% endfor %}",
        "{% for a in range(9999) %}{% set t = text|upper %}{% endfor %}",
        "{% for a in range(9999) %}{% set t = text|indent(9999999) %}{% endfor %}",
        "{% for a in range(9999) %}{% set t = range(9999) %}{% endfor %}",
        "{{ range(99999999) }}",
        "{% for a in range(9999) %}{% if 'q' in text %}{% endif %}{% endfor %}",
        "{% for a in range(9999) %}{% if text == text|replace('y', 'z') %}{% endif %}{% endfor %}",
    ] {
        let prompt = Prompt::new()
            .user(template)
            .variable("text", json!({}))
            .variable("list", json!({"type": "array"}));
        let error = compile(&prompt)
            .render(&variables(json!({"text": long, "list": list})))
            .unwrap_err();
        match error.why() {
            RenderFault::TooLarge(fault) | RenderFault::Template(fault) => {
                assert_eq!(&*fault.pointer, "/messages/0/content", "{template}");
            }
            RenderFault::Variables(faults) => panic!("{template}: {faults:?}"),
        }
    }
}

#[test]
fn large_variables_leave_fewer_steps() {
    let loops = "{% for a in range(1000) %}{% if 'q' in text %}{% endif %}{% endfor %}";
    let prompt = Prompt::new().user(loops).variable("text", json!({}));
    let version = compile(&prompt);
    let render = |length: usize| version.render(&variables(json!({"text": "x".repeat(length)})));
    render(100_000).unwrap();
    let error = render(1_000_000).unwrap_err();
    assert!(matches!(error.why(), RenderFault::TooLarge(_)), "{error}");
    let faults = version.check_variables(&variables(json!({"text": "x".repeat(5 << 20)})));
    assert_eq!(&*faults[0].pointer, "/text");
}

#[test]
fn what_filters_have_made_leaves_fewer_steps_where_it_is_kept() {
    let loops = "{% for a in range(2000) %}{% if 'q' in text %}{% endif %}{% endfor %}";
    let render = |set: &str| {
        let prompt = Prompt::new()
            .user(format!("{set}{loops}"))
            .variable("text", json!({"default": "x"}));
        compile(&prompt).render(&Variables::new())
    };
    render("").unwrap();
    render("{% set y = text|default('a')|length %}").unwrap();
    for set in [
        "{% set text = text|upper %}",
        "{% if 1 %}{%- set y = 1 if 0 else text|trim -%}{% endif %}",
    ] {
        let error = render(set).unwrap_err();
        assert!(matches!(error.why(), RenderFault::TooLarge(_)), "{error}");
    }
    let mut large = Prompt::new().user(loops);
    for name in ["text", "a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        large = large.variable(name, json!({"default": "x".repeat(60_000)}));
    }
    let error = compile(&large).render(&Variables::new()).unwrap_err();
    assert!(
        matches!(error.why(), RenderFault::TooLarge(_)),
        "defaults count"
    );
}

/// Numbers that are hard to count with, and what is no number.
fn odd_values() -> Vec<Value> {
    vec![
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(f64::MAX),
        json!(-0.0),
        json!(5e-324),
        json!(null),
        json!(true),
        json!(""),
        json!("é"),
        json!([]),
        json!([[1], "x"]),
        json!({"a": -9}),
    ]
}

#[test]
fn no_value_makes_a_template_panic() {
    let mut templates = Vec::new();
    for operator in [
        "-", "/", "//", "%", "==", "!=", "<", ">=", "in", "not in", "and", "or",
    ] {
        templates.push(format!("{{{{ a {operator} b }}}}"));
    }
    for unary in [
        "-a",
        "not a",
        "a.b",
        "a[b]",
        "a + 1",
        "1 + a",
        "a if b else c",
    ] {
        templates.push(format!("{{{{ {unary} }}}}"));
    }
    for filter in super::super::engine::FILTERS {
        for arguments in ["", "(b)", "(b, c)"] {
            templates.push(format!("{{{{ a|{filter}{arguments} }}}}"));
        }
    }
    for test in super::super::engine::TESTS {
        for arguments in ["", "(b)"] {
            templates.push(format!("{{{{ a is {test}{arguments} }}}}"));
        }
    }
    for arguments in ["a", "a, b", "a, b, c"] {
        templates.push(format!("{{{{ range({arguments})|length }}}}"));
    }
    templates.push("{% for x in a %}{{ loop.index }}{{ x }}{% endfor %}".to_owned());
    let values = odd_values();
    for template in templates {
        let mut prompt = Prompt::new().user(&*template);
        for name in ["a", "b", "c"] {
            prompt = prompt.variable(name, json!({}));
        }
        let version = compile(&prompt);
        let takes = |name: &str| {
            let mut words = template.split(|char: char| !char.is_alphanumeric());
            words.any(|word| word == name)
        };
        let none = [json!(0)];
        let of = |name| if takes(name) { &values[..] } else { &none[..] };
        for a in of("a") {
            for b in of("b") {
                for c in of("c").iter().take(6) {
                    // Whether it fails is not the matter.
                    let _ = version.render(&variables(json!({"a": a, "b": b, "c": c})));
                }
            }
        }
    }
}

#[test]
fn all_templates_share_their_steps() {
    let loops = "{% for a in range(5000) %}{% if a %}{% endif %}{% endfor %}";
    let mut prompt = Prompt::new().user("{{ text }}").variable("text", json!({}));
    for _ in 0..20 {
        prompt = prompt.user(loops);
    }
    let error = compile(&prompt)
        .render(&variables(json!({"text": "x"})))
        .unwrap_err();
    assert!(matches!(error.why(), RenderFault::TooLarge(_)), "{error}");
}

#[test]
fn the_sum_of_all_parts_is_held_too() {
    let mut prompt = Prompt::new().variable("text", json!({}));
    for _ in 0..8 {
        prompt = prompt.user("{{ text }}");
    }
    let error = compile(&prompt)
        .render(&variables(json!({"text": "x".repeat(900_000)})))
        .unwrap_err();
    let RenderFault::TooLarge(fault) = error.why() else {
        panic!("{error}");
    };
    assert_eq!(&*fault.pointer, "/messages/4/content");
    assert_eq!(Rejection::from(error).kind(), Kind::TooLarge);
}

#[test]
fn variables_are_bounded_in_number_and_depth() {
    let version = compile(
        &Prompt::new()
            .user("{{ x }}")
            .variable("x", json!({"type": "array"})),
    );
    let many: Vec<_> = (0..20_000).collect();
    assert_eq!(
        version
            .check_variables(&variables(json!({"x": many})))
            .len(),
        1
    );
    let mut deep = json!([]);
    for _ in 0..70 {
        deep = json!([deep]);
    }
    assert_eq!(
        version
            .check_variables(&variables(json!({"x": deep})))
            .len(),
        1
    );
}
