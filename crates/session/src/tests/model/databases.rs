//! Databases: a key in any database but the first is stored under a prefix with the database's number.

use std::borrow::Cow;

use super::Model;

/// The number of databases of a Redis with default settings.
const DATABASES: i64 = 16;

impl Model {
    pub(super) fn select(&mut self, index: &str) {
        match index.parse::<i64>() {
            Ok(db) if (0..DATABASES).contains(&db) => {
                self.db = u32::try_from(db).unwrap();
                self.reply("+OK\r\n");
            }
            Ok(_) => self.reply("-ERR DB index is out of range\r\n"),
            Err(_) => self.reply("-ERR value is not an integer or out of range\r\n"),
        }
    }

    pub(super) fn in_database<'a>(&self, name: &str, argv: &'a [String]) -> Cow<'a, [String]> {
        let has_key = matches!(name, "get" | "set" | "rpush" | "lrange" | "blpop");
        if self.db == 0 || !has_key {
            return Cow::Borrowed(argv);
        }
        let mut argv = argv.to_vec();
        argv[1] = format!("{}/{}", self.db, argv[1]);
        Cow::Owned(argv)
    }
}
