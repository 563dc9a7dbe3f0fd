use super::*;
use crate::log;
use crate::metrics::UpstreamErrorKind;
use crate::testing::config_of;

#[test]
fn names_each_upstream_that_is_not_up() {
    let upstreams = "upstreams: {one: {address: '127.0.0.1:1'}, two: {address: '127.0.0.1:2'}, spare: {address: '127.0.0.1:3'}}";
    let listener = |name: &str| format!("{{name: {name}, bind: 'unix:{name}.sock', upstream: {name}}}");
    let config = config_of(&format!("{upstreams}\nlisteners: [{}, {}]\n", listener("one"), listener("two")));
    let health = Arc::new(Health::default());
    let watched = health.follow(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let patience = Duration::from_millis(10);
    let logged = log::captured(|| {
        runtime.block_on(async {
            let telling = tell_ready(Arc::clone(&health), patience);
            let probes = async {
                watched[0].found(Err(UpstreamErrorKind::Auth));
                // Both wait in one task, where the first is asked first.
                tokio::time::sleep(patience * 4).await;
                watched[0].found(Ok(()));
                tokio::task::yield_now().await;
                watched[1].found(Ok(()));
            };
            tokio::join!(telling, probes);
        });
    });
    let lines: Vec<_> = logged.lines().map(|line| line.split_once("Z ").expect("a time").1).collect();
    let first = " WARN not ready: upstream 'one' is down (auth), upstream 'two' has not been probed yet";
    assert_eq!(lines, [first, " INFO ready"]);
}
