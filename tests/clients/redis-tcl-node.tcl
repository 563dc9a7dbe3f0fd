# For Redis's own tests through the proxy before a cluster. Administration of one server goes straight to the node, because
# the proxy refuses it there: CONFIG SET, CLIENT PAUSE, DEBUG, SAVE and others. CONFIG GET goes there too, because the
# proxy shows its own port, to which a test would then set the node. All other commands go through the proxy.
# REDIS_TCL_NODE is the address of the node.

set ::redis::straight {}
set ::redis::of_node {config debug acl latency slowlog save bgsave bgrewriteaof lastsave}
set ::redis::subcommands_of_node {
    {memory doctor} {memory malloc-stats} {memory purge} {memory stats}
    {client pause} {client unpause}
    {script kill} {function kill}
}

rename ::redis::__dispatch__ ::redis::through_proxy

proc ::redis::__dispatch__ {id method args} {
    set name [string tolower $method]
    if {[::redis::is_of_node $id $name $args]} {
        return [::redis::ask_node $id $name $args]
    }
    uplevel 1 [list ::redis::through_proxy $id $method {*}$args]
}

# A client that reads its replies later must get them itself.
proc ::redis::is_of_node {id name argv} {
    if {![info exists ::redis::deferred($id)] || $::redis::deferred($id) || !$::redis::blocking($id)} {return 0}
    if {$id eq $::redis::straight} {return 0}
    set subcommand [string tolower "$name [lindex $argv 0]"]
    expr {$name in $::redis::of_node || $subcommand in $::redis::subcommands_of_node}
}

proc ::redis::ask_node {id name argv} {
    if {$::redis::straight eq {}} {
        redis {*}[split $::env(REDIS_TCL_NODE) :]
        set ::redis::straight $::redis::id
    }
    ::redis::through_proxy $::redis::straight $name {*}$argv
}
