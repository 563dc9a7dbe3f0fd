use super::*;

#[test]
fn every_name_finds_itself_in_any_case() {
    for id in CommandId::all().skip(1) {
        if let Some((container, own)) = id.name().split_once('|') {
            let top = lookup(container.as_bytes()).unwrap();
            assert_eq!(lookup_subcommand(top, own.to_uppercase().as_bytes()), Some(id));
            assert_eq!(id.top(), top);
            assert!(top.is_container() && !id.is_container());
            assert_eq!(lookup(id.name().as_bytes()), None, "a bar is no part of a name");
        } else {
            assert_eq!(lookup(id.name().as_bytes()), Some(id));
            assert_eq!(lookup(id.name().to_uppercase().as_bytes()), Some(id));
            assert_eq!(id.top(), id);
        }
        assert_eq!(CommandId::from_index(id.index()), Some(id));
    }
    assert_eq!(CommandId::from_index(CommandId::COUNT), None);
    assert_eq!(CommandId::UNKNOWN.top(), CommandId::UNKNOWN);
    assert!(!CommandId::UNKNOWN.is_container());
}
