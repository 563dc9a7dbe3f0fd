# For Redis's own tests through the proxy before a cluster. Commands of administration go straight to the node, because
# the proxy refuses them: each concerns one node, or all of them. All other commands go through the proxy.
# REDIS_TCL_NODE is the address of the node.

set ::redis::straight {}
set ::redis::of_node {config flushall flushdb dbsize keys debug script acl memory latency slowlog save bgsave bgrewriteaof lastsave info}

rename ::redis::__dispatch__ ::redis::through_proxy

proc ::redis::__dispatch__ {id method args} {
    set name [string tolower $method]
    if {$name eq {read} && [info exists ::redis::unread($id)]} {
        set reply $::redis::unread($id)
        unset ::redis::unread($id)
        return $reply
    }
    if {[::redis::is_of_node $id $name $args]} {
        return [::redis::ask_node $id $name $args]
    }
    uplevel 1 [list ::redis::through_proxy $id $method {*}$args]
}

# A client that reads its replies later must get them itself.
proc ::redis::is_of_node {id name argv} {
    if {![info exists ::redis::deferred($id)] || $::redis::deferred($id) || !$::redis::blocking($id)} {return 0}
    if {$id eq $::redis::straight} {return 0}
    if {$name eq {function}} {return [expr {[string tolower [lindex $argv 0]] ni {list dump stats}}]}
    expr {$name in $::redis::of_node}
}

# In raw mode, a test reads the line with the length first, and then the text.
proc ::redis::ask_node {id name argv} {
    if {$::redis::straight eq {}} {
        redis {*}[split $::env(REDIS_TCL_NODE) :]
        set ::redis::straight $::redis::id
    }
    set reply [::redis::through_proxy $::redis::straight $name {*}$argv]
    if {$name ne {function} || !$::redis::readraw($id)} {return $reply}
    set ::redis::unread($id) $reply
    return "$[string length $reply]"
}
