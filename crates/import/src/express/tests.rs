use super::*;

fn net(text: &str) -> Net {
    Net::Inet(text.parse().unwrap())
}

fn entries(nets: &[&str]) -> Vec<Entry> {
    nets.iter().map(|text| Entry { net: net(text), origin: "as written".into(), group: None }).collect()
}

fn sources(nets: &[&str]) -> Sources {
    nets.iter().map(|text| net(text)).collect()
}

fn shown(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.net.to_string()).collect()
}

const V4: &[&str] = &["0.0.0.0/0"];

#[test]
fn what_is_right_as_written_stays() {
    let written = Lists { allow: entries(&["10.0.0.0/8", "10.0.0.0/8"]), deny: entries(&["10.1.0.0/16"]) };
    let exact = sources(&["10.0.0.0/8"]).less(&sources(&["10.1.0.0/16"]));
    let lists = express(written, &exact, &sources(V4), &Sources::default());
    assert_eq!(shown(&lists.allow), ["10.0.0.0/8"]);
    assert_eq!(shown(&lists.deny), ["10.1.0.0/16"]);
    assert_eq!(lists.allow[0].origin, "as written".into());
}

#[test]
fn what_is_not_is_cut_where_that_takes_less() {
    // allow 10.1.0.0/16; deny 10.0.0.0/8; allow all
    let written = Lists { allow: entries(&["10.1.0.0/16", "0.0.0.0/0"]), deny: entries(&["10.0.0.0/8"]) };
    let exact = sources(V4).less(&sources(&["10.0.0.0/8"])).or(&sources(&["10.1.0.0/16"]));
    let lists = express(written, &exact, &sources(V4), &Sources::default());
    assert_eq!((lists.allow.len(), lists.deny.len()), (9, 0));
    // allow 10.0.0.1; deny 10.0.0.0/30; allow 10.0.0.0/8
    let written = Lists { allow: entries(&["10.0.0.1/32", "10.0.0.0/8"]), deny: entries(&["10.0.0.0/30"]) };
    let exact = sources(&["10.0.0.0/8"]).less(&sources(&["10.0.0.0/32", "10.0.0.2/31"]));
    let lists = express(written, &exact, &sources(V4), &Sources::default());
    assert_eq!(shown(&lists.allow), ["10.0.0.1", "10.0.0.0/8"]);
    assert_eq!(shown(&lists.deny), ["10.0.0.0", "10.0.0.2/31"]);
}

#[test]
fn who_cannot_connect_is_not_listed() {
    let written = Lists { allow: entries(&["10.0.0.0/8", "2001:db8::/32"]), deny: Vec::new() };
    let exact = sources(&["10.0.0.0/8", "2001:db8::/32"]);
    let lists = express(written, &exact, &sources(V4), &Sources::default());
    assert_eq!(shown(&lists.allow), ["10.0.0.0/8"]);
}

#[test]
fn a_blur_may_be_left_out_and_never_let_in() {
    let (v6, blur) = (["::/0"], sources(&["2002::/16"]));
    let exact = sources(&["2001:db8::/32", "2002:a00::/24"]);
    let written = Lists { allow: entries(&["2001:db8::/32"]), deny: Vec::new() };
    let lists = express(written, &exact, &sources(&v6), &blur);
    assert_eq!(shown(&lists.allow), ["2001:db8::/32"]);
    let written = Lists { allow: entries(&v6), deny: Vec::new() };
    let lists = express(written, &sources(&v6).less(&blur), &sources(&v6), &blur);
    assert_eq!(shown(&lists.deny), ["2002::/16"]);
}

#[test]
fn nobody_stays_nobody() {
    let written = Lists { allow: entries(&["10.0.0.0/8"]), deny: entries(V4) };
    let lists = express(written, &Sources::default(), &sources(V4), &Sources::default());
    assert!(lists.allow.is_empty());
    assert_eq!(shown(&lists.deny), V4);
}
