//! Upstreams that are an address of the proxy itself.

use super::*;

/// Returns the problems of a configuration with these values of `bind`, of the upstream, and of `admin`.
fn told(bind: &str, upstream: &str, admin: &str) -> Vec<String> {
    let yaml = format!(
        "admin: {admin}\nlisteners:\n  - name: a\n    bind: {bind}\n    upstream: main\n    allow: [192.0.2.1]\n\
         upstreams:\n  main: {{{upstream}}}\n"
    );
    let files = Files::new().with("portcullis.yaml", yaml);
    let problems = files.load().err().unwrap_or_default();
    problems
        .iter()
        .map(|problem| problem.to_string().replace(&format!("{}/", files.path("").display()), ""))
        .collect()
}

#[test]
fn an_upstream_that_is_the_proxy_is_an_error_where_it_stands() {
    for (bind, upstream, admin, found) in [
        (
            "127.0.0.1:6380",
            "address: \"127.0.0.1:6380\"",
            "off",
            "8:19: error: 127.0.0.1:6380 is an address that this proxy listens on, see line 4",
        ),
        (
            "127.0.0.1:6380",
            "address: [\"redis:6380\", \"localhost:6380\"]",
            "off",
            "8:34: error: localhost:6380 is an",
        ),
        ("0.0.0.0:6380", "address: \"127.0.0.9:6380\"", "off", "8:19: error: 127.0.0.9:6380 is an"),
        ("\"[::]:6380\"", "address: \"[::1]:6380\"", "off", "8:19: error: [::1]:6380 is an"),
        ("unix:a.sock", "address: \"unix:a.sock\"", "off", "8:19: error: unix:"),
        ("unix:a.sock", "address: \"unix:./a.sock\"", "off", "8:19: error: unix:"),
        (
            "127.0.0.1:6380",
            "sentinel: {master: m, nodes: [\"127.0.0.1:6380\"]}",
            "off",
            "8:40: error: 127.0.0.1:6380 is an",
        ),
        (
            "127.0.0.1:6380",
            "sentinel: {master: m, nodes: [\"127.0.0.1:26379\"]}, translate: {\"10.0.0.1:1\": \"127.0.0.1:6380\"}",
            "off",
            "127.0.0.1:6380 is an",
        ),
        (
            "127.0.0.1:6380",
            "address: \"localhost:9400\"",
            "{bind: \"127.0.0.1:9400\"}",
            "8:19: error: localhost:9400 is the admin endpoint of this proxy",
        ),
        (
            "127.0.0.1:6380",
            "address: \"127.0.0.1:9377\"",
            "{}",
            "8:19: error: 127.0.0.1:9377 is the admin endpoint of this proxy",
        ),
    ] {
        let problems = told(bind, upstream, admin);
        let [problem] = problems.as_slice() else { panic!("{bind} {upstream}: {problems:?}") };
        assert!(problem.contains(found), "{bind} {upstream}: {problem}");
        assert!(problem.contains("hint: write the address of Redis"), "{problem}");
    }
}

#[test]
fn another_address_is_no_error() {
    for (bind, upstream) in [
        ("127.0.0.1:6380", "address: \"127.0.0.1:6379\""),
        ("127.0.0.1:6380", "address: \"127.0.0.2:6380\""),
        ("0.0.0.0:6380", "address: \"redis:6380\""),
        ("0.0.0.0:6380", "address: \"192.0.2.99:6380\""),
        ("unix:a.sock", "address: \"unix:b.sock\""),
    ] {
        assert_eq!(told(bind, upstream, "off"), Vec::<String>::new(), "{bind} {upstream}");
    }
}
