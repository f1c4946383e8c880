"""Kamailio as the inside registrar and proxy: SIP over TCP (and UDP), Path stored and followed."""

MODULES = ":".join(f"/usr/lib/{part}kamailio/modules/" for part in
                   ("", "x86_64-linux-gnu/", "aarch64-linux-gnu/"))
CONFIGURATION = """
children=1
tcp_children={tcp_children}
fork=yes
log_stderror=yes
debug=2
memdbg=5
memlog=5
disable_tcp=no
tcp_connection_lifetime=3605
tcp_rd_buf_size=65536
tcp_accept_aliases=no
auto_aliases=no
alias="{domain}"
listen=tcp:{address}:{port}
listen=udp:{address}:{port}
{tls_listen}mpath="{modules}"
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
{tls_module}modparam("usrloc", "db_mode", 0)
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 0)
modparam("registrar", "min_expires", 10)
modparam("registrar", "max_expires", 3600)
modparam("registrar", "gruu_enabled", {gruu})
modparam("rr", "enable_full_lr", 1)

request_route {{
    xlog("L_NOTICE", "IN $rm $ru from $proto:$si:$sp call $ci ua $ua\\n");
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS") && uri == myself && $rU == $null) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (has_totag()) {{
        if (loose_route()) {{
            if (is_method("INVITE")) {{
                if (search_body("a=sendonly|a=inactive")) xlog("L_NOTICE", "HOLD $ci\n");
                else xlog("L_NOTICE", "RESUME $ci\n");
            }}
            if (is_gruu()) {{ lookup("location"); }}
            t_relay();
            exit;
        }}
        if (is_method("ACK")) {{ if (t_check_trans()) t_relay(); exit; }}
        sl_send_reply("404", "Not here");
        exit;
    }}
    t_check_trans();
    if (is_method("REGISTER")) {{
        if (!save("location")) sl_reply_error();
        xlog("L_NOTICE", "SAVED $tu path $hdr(Path) contact $ct expires $hdr(Expires)\\n");
        exit;
    }}
    record_route();
    if (uri == myself) {{
        if (!lookup("location")) {{
            xlog("L_NOTICE", "UNKNOWN $ru\\n");
            sl_send_reply("404", "Not Found");
            exit;
        }}
    }}
    if (!t_relay()) sl_reply_error();
}}
"""


TLS = """[server:default]
method = TLSv1.2+
certificate = {chain}
private_key = {key}
ca_list = {trusted}
verify_certificate = yes
require_certificate = yes
[client:default]
method = TLSv1.2+
certificate = {chain}
private_key = {key}
ca_list = {trusted}
verify_certificate = yes
"""


def start(run, host, address, domain, port=5060, gruu=True, tls=None):
    """Starts it in a host; its log tells each request (IN …) and registration (SAVED …).

    With `tls`, (chain, key, trusted), it listens on 5061 as well. It then has one process for all
    connections: Debian's Kamailio breaks down with TLS in several.
    """
    from . import process
    more = dict(tcp_children=2, tls_listen="", tls_module="")
    if tls:
        settings = run.write("kamailio/tls.cfg", TLS.format(chain=tls[0], key=tls[1], trusted=tls[2]))
        more = dict(tcp_children=1, tls_listen=f"enable_tls=yes\nlisten=tls:{address}:5061\n",
                    tls_module=f'loadmodule "tls.so"\nmodparam("tls", "config", "{settings}")\n')
    path = run.write("kamailio/kamailio.cfg", CONFIGURATION.format(
        address=address, port=port, domain=domain, gruu=int(gruu), modules=MODULES,
        **more))
    started = run.start("kamailio", ["kamailio", "-DD", "-E", "-f", path, "-m", "64", "-M", "8",
                                     "-P", run.path("kamailio/pid"), "-Y",
                                     run.path("kamailio", "run", "x")[:-2], "-w", "/"], host=host)
    run.wait("Kamailio listens", lambda: process.port_open(host, address, port))
    return started
