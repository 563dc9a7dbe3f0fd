//! Sets of flags, each stored in one integer.

/// Defines a set of constants that is stored in one integer.
macro_rules! set {
    ($(#[$doc:meta])* $name:ident: $int:ty { $($(#[$what:meta])* $flag:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Default)]
        pub struct $name($int);

        impl $name {
            /// The empty set.
            pub const NONE: Self = Self(0);
            /// All members, each with its name as servers write it.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$flag, $text)),+];

            set!(@flags 0; $($(#[$what])* $flag = $text,)+);

            /// Returns the union of several sets.
            #[must_use]
            pub const fn of(sets: &[Self]) -> Self {
                let mut bits = 0;
                let mut rest = sets;
                while let [first, after @ ..] = rest {
                    bits |= first.0;
                    rest = after;
                }
                Self(bits)
            }

            /// Returns whether the set contains all of `other`.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Returns whether the set contains any member of `other`.
            #[must_use]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Returns whether the set has no members.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Returns the member with this name, in any case. `None` if there is none.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|(_, text)| text.eq_ignore_ascii_case(name)).map(|(flag, _)| *flag)
            }

            /// Returns the names of the members.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::ALL.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, text)| *text)
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
    (@flags $at:expr; $(#[$what:meta])* $flag:ident = $text:literal, $($rest:tt)*) => {
        #[doc = concat!("`", $text, "`")]
        $(#[$what])*
        pub const $flag: Self = Self(1 << ($at));
        set!(@flags $at + 1; $($rest)*);
    };
    (@flags $at:expr;) => {};
}

set! {
    /// The properties of a command, as `COMMAND` reports them.
    Flags: u32 {
        ADMIN = "admin",
        ASKING = "asking",
        BLOCKING = "blocking",
        DENYOOM = "denyoom",
        FAST = "fast",
        LOADING = "loading",
        MOVABLEKEYS = "movablekeys",
        NO_ASYNC_LOADING = "no_async_loading",
        NO_AUTH = "no_auth",
        NO_MANDATORY_KEYS = "no_mandatory_keys",
        NO_MULTI = "no_multi",
        NOSCRIPT = "noscript",
        PUBSUB = "pubsub",
        RANDOM = "random",
        READONLY = "readonly",
        SKIP_MONITOR = "skip_monitor",
        SKIP_SLOWLOG = "skip_slowlog",
        SORT_FOR_SCRIPT = "sort_for_script",
        STALE = "stale",
        WRITE = "write",
        MAY_REPLICATE = "may_replicate",
        MODULE = "module",
        ALLOW_BUSY = "allow_busy",
        TOUCHES_ARBITRARY_KEYS = "touches_arbitrary_keys",
        INTERNAL = "internal",
    }
}

set! {
    /// The ACL categories, without their `@`.
    Categories: u64 {
        KEYSPACE = "keyspace",
        READ = "read",
        WRITE = "write",
        SET = "set",
        SORTEDSET = "sortedset",
        LIST = "list",
        HASH = "hash",
        STRING = "string",
        ARRAY = "array",
        BITMAP = "bitmap",
        HYPERLOGLOG = "hyperloglog",
        GEO = "geo",
        STREAM = "stream",
        PUBSUB = "pubsub",
        ADMIN = "admin",
        FAST = "fast",
        SLOW = "slow",
        BLOCKING = "blocking",
        DANGEROUS = "dangerous",
        CONNECTION = "connection",
        TRANSACTION = "transaction",
        SCRIPTING = "scripting",
        JSON = "json",
        SEARCH = "search",
        TDIGEST = "tdigest",
        CMS = "cms",
        BLOOM = "bloom",
        CUCKOO = "cuckoo",
        TOPK = "topk",
        TIMESERIES = "timeseries",
        VECTORSET = "vectorset",
    }
}

set! {
    /// The ways in which a command uses a key, as key specifications describe them.
    Access: u16 {
        /// Reads the value.
        RO = "RO",
        /// Changes the value.
        RW = "RW",
        /// Overwrites the value without reading it.
        OW = "OW",
        /// Deletes the key.
        RM = "RM",
        /// Returns part of the value or information about it.
        ACCESS = "access",
        /// Changes part of the value.
        UPDATE = "update",
        /// Only adds something to the value.
        INSERT = "insert",
        /// Deletes a part of the value.
        DELETE = "delete",
        /// Not a key, but an argument with a slot (a sharded channel).
        NOT_KEY = "not_key",
        /// The command may have more keys than the specification finds.
        INCOMPLETE = "incomplete",
        /// The use of the key depends on the arguments.
        VARIABLE_FLAGS = "variable_flags",
    }
}

set! {
    /// The servers from which the table was made.
    Servers: u8 {
        REDIS_6 = "redis 6.2",
        REDIS_7 = "redis 7",
        REDIS_8 = "redis 8",
        VALKEY_8 = "valkey 8",
        SENTINEL = "sentinel",
        /// Redis 8.2 and 8.4, Valkey 8.1 and 9.0, according to their published command tables.
        PUBLISHED = "later versions",
    }
}
