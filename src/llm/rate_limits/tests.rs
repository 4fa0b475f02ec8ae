use super::*;
use proptest::prelude::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        let name = http::HeaderName::from_static(name);
        Some((name, http::HeaderValue::from_str(value).ok()?))
    };
    fields.iter().filter_map(field).collect()
}

fn limit(limit: u64, remaining: u64, reset: Option<Duration>) -> Limit {
    Limit {
        limit: Some(limit),
        remaining: Some(remaining),
        reset,
    }
}

fn seconds(seconds: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(seconds))
}

#[test]
fn openai_groq_and_xai_tell_durations() {
    let read = RateLimits::read(&headers(&[
        ("x-ratelimit-limit-requests", "14400"),
        ("x-ratelimit-remaining-requests", "14399"),
        ("x-ratelimit-reset-requests", "6s"),
        ("x-ratelimit-limit-tokens", "30000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "17.399999999s"),
        // Of other things.
        ("x-ratelimit-limit-input-images", "50000"),
        ("x-ratelimit-limit-audio-seconds-minute", "2000"),
    ]))
    .unwrap();
    assert_eq!(read.requests, limit(14_400, 14_399, seconds(6.0)));
    assert_eq!(read.tokens, limit(30_000, 0, seconds(17.399_999_999)));
    assert_eq!(read.exhausted_for(), read.tokens.reset);
    assert_eq!(read.input_tokens, Limit::default());
}

#[test]
fn a_reset_is_a_duration_however_it_is_told() {
    for (told, expected) in [
        ("2ms", 0.002),
        ("0s", 0.0),
        ("0", 0.0),
        ("6m0s", 360.0),
        ("1h2m3s", 3723.0),
        ("1d1h", 90_000.0),
        ("500", 500.0),
        ("33011.5", 33_011.5),
        ("2026-08-19T14:34:19Z", 60.0),
        ("2026-08-19T14:34:19.5Z", 60.5),
        ("2026-08-19T16:34:19+02:00", 60.0),
        ("2026-08-19T14:00:00Z", 0.0),
        ("1787150059", 60.0),
        ("1787150059000", 60.0),
        ("99999d", 2_678_400.0),
        ("99999999999999999999999999999999", 2_678_400.0),
        ("9999-12-31T23:59:59Z", 2_678_400.0),
    ] {
        let read = RateLimits::read(&headers(&[
            ("date", "Wed, 19 Aug 2026 14:33:19 GMT"),
            ("x-ratelimit-reset", told),
        ]));
        assert_eq!(read.unwrap().requests.reset, seconds(expected), "{told}");
    }
    for mad in [
        "",
        "-1",
        "NaN",
        "inf",
        "soon",
        "1e400",
        "s",
        "5x",
        "5s5",
        ".",
        "2026-13-01T00:00:00Z",
        "2026-08-19T25:00:00Z",
        "2026-08-19T14:34:19",
        "2026-08-19",
        "1.2.3s",
    ] {
        let read = RateLimits::read(&headers(&[("x-ratelimit-reset", mad)]));
        assert_eq!(read, None, "{mad}");
    }
}

#[test]
fn azure_tells_plain_seconds() {
    let read = RateLimits::read(&headers(&[
        ("x-ratelimit-limit-requests", "250"),
        ("x-ratelimit-remaining-requests", "249"),
        ("x-ratelimit-reset-requests", "500"),
        ("x-ratelimit-renewalperiod-requests", "60"),
        ("x-ratelimit-key", "gpt-5-nano"),
    ]));
    assert_eq!(read.unwrap().requests, limit(250, 249, seconds(500.0)));
}

#[test]
fn anthropic_tells_times_and_each_kind_of_tokens() {
    let read = RateLimits::read(&headers(&[
        ("date", "Wed, 19 Aug 2026 14:34:09 GMT"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2026-08-19T14:34:19Z"),
        ("anthropic-ratelimit-tokens-limit", "4800000"),
        ("anthropic-ratelimit-tokens-remaining", "4799000"),
        ("anthropic-ratelimit-input-tokens-limit", "4000000"),
        ("anthropic-ratelimit-input-tokens-remaining", "3999000"),
        ("anthropic-ratelimit-output-tokens-limit", "800000"),
        ("anthropic-ratelimit-output-tokens-remaining", "800000"),
    ]))
    .unwrap();
    assert_eq!(read.requests, limit(4000, 3999, seconds(10.0)));
    assert_eq!(read.tokens, limit(4_800_000, 4_799_000, None));
    assert_eq!(read.input_tokens, limit(4_000_000, 3_999_000, None));
    assert_eq!(read.output_tokens, limit(800_000, 800_000, None));
}

#[test]
fn of_several_windows_the_tightest_counts() {
    // Mistral.
    let read = RateLimits::read(&headers(&[
        ("x-ratelimit-limit-req-minute", "360"),
        ("x-ratelimit-remaining-req-minute", "358"),
        ("x-ratelimit-limit-req-10-second", "60"),
        ("x-ratelimit-remaining-req-10-second", "49"),
        ("x-ratelimit-limit-tokens-minute", "200000"),
        ("x-ratelimit-remaining-tokens-minute", "98863"),
        ("x-ratelimit-limit-tokens-month", "200000000000"),
        ("x-ratelimit-remaining-tokens-month", "199999999980"),
        ("x-ratelimit-tokens-query-cost", "210"),
    ]))
    .unwrap();
    assert_eq!(read.requests, limit(60, 49, None));
    assert_eq!(read.tokens, limit(200_000, 98_863, None));
    // Cerebras.
    let read = RateLimits::read(&headers(&[
        ("x-ratelimit-limit-requests-day", "14400"),
        ("x-ratelimit-remaining-requests-day", "3"),
        ("x-ratelimit-reset-requests-day", "33011.5"),
        ("x-ratelimit-limit-tokens-minute", "60000"),
        ("x-ratelimit-remaining-tokens-minute", "60000"),
        ("x-ratelimit-reset-tokens-minute", "11.5"),
    ]))
    .unwrap();
    assert_eq!(read.requests, limit(14_400, 3, seconds(33_011.5)));
    assert_eq!(read.tokens, limit(60_000, 60_000, seconds(11.5)));
}

#[test]
fn together_openrouter_fireworks_and_cohere_have_names_of_their_own() {
    let together = RateLimits::read(&headers(&[
        ("x-ratelimit-limit", "2"),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-reset", "2"),
        ("x-tokenlimit-limit", "100"),
        ("x-tokenlimit-remaining", "99"),
    ]))
    .unwrap();
    assert_eq!(together.requests, limit(2, 1, seconds(2.0)));
    assert_eq!(together.tokens, limit(100, 99, None));
    let fireworks = RateLimits::read(&headers(&[
        ("x-ratelimit-limit-requests", "600"),
        ("x-ratelimit-remaining-requests", "599"),
        ("x-ratelimit-limit-tokens-prompt", "60000"),
        ("x-ratelimit-remaining-tokens-prompt", "50000"),
        ("x-ratelimit-limit-tokens-generated", "6000"),
        ("x-ratelimit-remaining-tokens-generated", "5000"),
    ]))
    .unwrap();
    assert_eq!(fireworks.input_tokens, limit(60_000, 50_000, None));
    assert_eq!(fireworks.output_tokens, limit(6000, 5000, None));
    let cohere = RateLimits::read(&headers(&[
        ("x-trial-endpoint-call-limit", "40"),
        ("x-trial-endpoint-call-remaining", "37"),
        ("x-endpoint-monthly-call-limit", "1000"),
    ]));
    assert_eq!(cohere.unwrap().requests, limit(40, 37, None));
}

#[test]
fn whoever_tells_nothing_has_no_limits_that_are_known() {
    let none = headers(&[
        ("content-type", "application/json"),
        ("x-ratelimit-limit-requests", "many"),
        ("x-ratelimit-remaining-requests", "-1"),
        ("x-ratelimit-limit-tokens-per-whatever", "1"),
        ("ratelimit-policy", "\"a\";q=1"),
    ]);
    assert_eq!(RateLimits::read(&none), None);
}

#[test]
fn what_an_answer_says_itself_comes_before_its_limits() {
    let limits = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "40s"),
    ];
    assert_eq!(retry_after(&headers(&limits)), seconds(40.0));
    let [remaining, reset] = limits;
    let told = headers(&[remaining, reset, ("retry-after", "7")]);
    assert_eq!(retry_after(&told), seconds(7.0));
}

proptest! {
    #[test]
    fn no_header_makes_it_stumble(
        fields in prop::collection::vec((0..NAMES.len(), "[ -~]{0,70}"), 0..40),
        shaped in prop::collection::vec((0..NAMES.len(), "[0-9.smhdnuTZ:+-]{0,40}"), 0..20),
    ) {
        let fields = fields.iter().chain(&shaped);
        let fields: Vec<_> = fields.map(|(at, value)| (NAMES[*at], &**value)).collect();
        let headers = headers(&fields);
        if let Some(limits) = RateLimits::read(&headers) {
            for one in [limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens] {
                prop_assert!(one.reset.is_none_or(|reset| reset <= RateLimits::LONGEST));
                prop_assert!(one.left().is_none_or(|left| (0.0..=1.0).contains(&left)));
            }
        }
        prop_assert!(retry_after(&headers).is_none_or(|after| after <= Remedy::LONGEST));
    }

    #[test]
    fn a_duration_is_read_as_it_is_written(hours in 0_u64..700, minutes in 0_u64..60, seconds in 0_u64..60) {
        let text = format!("{hours}h{minutes}m{seconds}s");
        let expected = Duration::from_secs(hours * 3600 + minutes * 60 + seconds);
        prop_assert_eq!(duration(&text), Some(expected));
    }
}

const NAMES: [&str; 14] = [
    "date",
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-reset",
    "x-ratelimit-remaining-tokens-day",
    "x-ratelimit-limit-tokens-day",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
    "anthropic-ratelimit-output-tokens-limit",
];
