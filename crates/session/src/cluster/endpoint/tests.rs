use super::Endpoint;

fn parsed(text: &str) -> Option<String> {
    Endpoint::parse(text, "asked.example").map(|endpoint| endpoint.to_string())
}

#[test]
fn hosts_and_ports_of_redirects() {
    assert_eq!(parsed("127.0.0.1:35095").as_deref(), Some("127.0.0.1:35095"));
    assert_eq!(parsed("Node.example:34041").as_deref(), Some("node.example:34041"));
    assert_eq!(parsed("2001:db8::5:7777").as_deref(), Some("[2001:db8::5]:7777"));
    // cluster-preferred-endpoint-type unknown-endpoint: the host that was asked.
    assert_eq!(parsed(":48261").as_deref(), Some("asked.example:48261"));
}

#[test]
fn hosts_that_lead_nowhere() {
    for text in
        ["?:48619", "127.0.0.1:0", "127.0.0.1", "", ":", "127.0.0.1:65536", "a b:1", "a\r\n:1", "a/b:1"]
    {
        assert_eq!(parsed(text), None, "{text:?}");
    }
    assert_eq!(Endpoint::new(&"a".repeat(255), 1).map(|endpoint| endpoint.port()), Some(1));
    assert_eq!(Endpoint::new(&"a".repeat(256), 1), None);
}
