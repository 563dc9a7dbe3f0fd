use portcullis_session::Filter;
use tokio::time::Instant;

use super::*;

fn question() -> Arc<Question> {
    let inquiry = Inquiry { action: Action::List, filter: Filter::default(), narrow: false, masked: false };
    let upstream = "main".to_owned();
    Arc::new(Question { inquiry, asker: 1, server: None, upstream, only: None })
}

fn part(ids: impl IntoIterator<Item = u64>) -> Part {
    let lines: Vec<_> = ids.into_iter().map(|id| (id, format!("id={id}\n"))).collect();
    Part { clients: lines.len() as u64, lines, ..Part::default() }
}

#[tokio::test]
async fn the_parts_of_all_workers_are_one_list_in_the_order_of_their_clients() {
    let clients = Questions::new(3);
    for (index, ids) in [[4, 1], [2, 6], [5, 3]].into_iter().enumerate() {
        let mut asks = clients.take(index).expect("its questions");
        assert!(clients.take(index).is_none(), "once");
        tokio::spawn(async move {
            let ask = asks.recv().await.expect("a question");
            ask.answer.send(part(ids)).expect("somebody waits");
        });
    }
    let findings = clients.ask(question(), |_| 0).await.expect("an answer");
    assert_eq!((findings.lines.as_str(), findings.clients), ("id=1\nid=2\nid=3\nid=4\nid=5\nid=6\n", 6));
}

/// One worker takes the question and does not answer; another worker has no queue.
#[tokio::test]
async fn workers_that_do_not_answer_are_left_out_in_time() {
    let clients = Questions::new(3);
    let mut asks = clients.take(0).expect("its questions");
    tokio::spawn(async move {
        let ask = asks.recv().await.expect("a question");
        ask.answer.send(part([7])).expect("somebody waits");
    });
    drop(clients.take(2));
    let began = Instant::now();
    let findings = clients.ask(question(), |_| 10).await.expect("an answer");
    assert_eq!(findings.lines, "id=7\n");
    assert!(began.elapsed() >= WITHIN && began.elapsed() < WITHIN * 10, "{:?}", began.elapsed());
}

#[tokio::test]
async fn so_many_questions_are_asked_at_once_and_no_more() {
    let clients = Questions::new(1);
    let others = clients.turns.acquire_many(4).await.expect("turns");
    assert_eq!(clients.ask(question(), |_| 0).await, None);
    drop(others);
    assert!(clients.ask(question(), |_| 0).await.is_some());
}

#[test]
fn a_list_is_bounded_in_lines_and_bytes() {
    let lines = |findings: &Findings| findings.lines.lines().count();
    let findings = part(0..10_001).findings(&question());
    assert_eq!((lines(&findings), findings.clients), (10_000, 10_001));
    let mut long = part(0..10);
    for (_, line) in &mut long.lines {
        *line = format!("{}\n", "x".repeat(1024 * 1024 - 1));
    }
    let findings = long.findings(&question());
    assert_eq!((lines(&findings), findings.lines.len()), (4, MAX_BYTES));
}
