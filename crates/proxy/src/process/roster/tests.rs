use super::*;

fn row(address: &str, listener: &str, name: &str, user: Option<&str>) -> Row {
    Row {
        address: address.to_owned(),
        sender: None,
        listener: listener.into(),
        age: None,
        idle: Duration::ZERO,
        facts: ClientFacts { name: name.to_owned(), user: user.map(str::to_owned), ..ClientFacts::default() },
        entry: None,
        group: None,
    }
}

fn page(after: u64, limit: usize) -> Search {
    Search { after, limit, ..Search::default() }
}

/// Looks at these clients in this order, as one worker.
fn look(search: &Search, ids: impl IntoIterator<Item = u64>) -> Roster {
    let mut roster = Roster::default();
    for id in ids {
        roster.look(search, id, || row(&format!("192.0.2.1:{id}"), "public", "", None));
    }
    roster
}

fn ids(roster: &Roster) -> Vec<u64> {
    roster.rows().map(|(id, _)| id).collect()
}

#[test]
fn pages_follow_each_other_whatever_the_order_of_the_clients() {
    let all = [5, 3, 9, 1, 7, 8, 2];
    let first = look(&page(0, 3), all);
    assert_eq!((ids(&first), first.matched(), first.next()), (vec![1, 2, 3], 7, Some(3)));
    let second = look(&page(3, 3), all);
    assert_eq!((ids(&second), second.matched(), second.next()), (vec![5, 7, 8], 7, Some(8)));
    let third = look(&page(8, 3), all);
    assert_eq!((ids(&third), third.matched(), third.next()), (vec![9], 7, None));
    let whole = look(&page(0, 7), all);
    assert_eq!((ids(&whole).len(), whole.next()), (7, None));
}

#[test]
fn the_pages_of_all_workers_are_one_page() {
    let search = page(0, 3);
    let mut whole = look(&search, [10, 2, 8]);
    whole.add(look(&search, [1, 9]), 3);
    assert_eq!((ids(&whole), whole.matched(), whole.next()), (vec![1, 2, 8], 5, Some(8)));
}

#[test]
fn a_row_is_built_only_for_the_page() {
    let search = page(0, 2);
    let mut roster = look(&search, [1, 2]);
    roster.look(&search, 3, || unreachable!("the page is full"));
    assert_eq!((roster.matched(), roster.next()), (3, Some(2)));
}

#[test]
fn a_filter_compares_parts_of_the_texts() {
    let client = row("203.0.113.9:4711", "public", "Worker-7", Some("reporting"));
    let selects = |search: Search| search.selects(&client);
    let text = str::to_owned;
    assert!(selects(Search { any: text("113.9"), ..Search::default() }));
    assert!(selects(Search { any: text("worker"), ..Search::default() }));
    assert!(selects(Search { any: text("publ"), ..Search::default() }));
    assert!(selects(Search { user: text("report"), name: text("-7"), ..Search::default() }));
    assert!(selects(Search { address: text("203.0"), listener: Some(text("public")), ..Search::default() }));
    assert!(!selects(Search { any: text("nothing"), ..Search::default() }));
    assert!(!selects(Search { address: text("worker"), ..Search::default() }));
    assert!(!selects(Search { user: text("report"), name: text("other"), ..Search::default() }));
    assert!(!selects(Search { listener: Some(text("publ")), ..Search::default() }));
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_counted_as_missing() {
    let rosters = Rosters::new(2);
    let mut asks = rosters.take(0).expect("its questions");
    drop(rosters.take(1));
    tokio::spawn(async move {
        let ask = asks.recv().await.expect("a question");
        let Matter::Page(search) = ask.question() else { panic!("a page") };
        let part = look(search, [4]);
        ask.answer(part);
    });
    let roster = rosters.ask(Matter::Page(page(0, 10)), |_| 7).await.expect("an answer");
    assert_eq!((ids(&roster), roster.matched(), roster.missing()), (vec![4], 1, 7));
}
