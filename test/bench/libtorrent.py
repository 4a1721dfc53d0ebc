# One BitTorrent peer. Arguments: torrent file, directory of the content, address:port to listen on, "seed" or "leech".
# It says "ready"; a leech then waits for a line "go PEER…" on its standard input and says "done" when it has everything.
# Both go on serving until they are killed.
import sys

import libtorrent as lt

torrent, directory, listen, kind = sys.argv[1:]
session = lt.session(
    {
        "listen_interfaces": listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
    }
)
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = directory
if kind == "seed":
    params.flags |= lt.torrent_flags.seed_mode
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)

peers = []
if kind == "seed":
    handle = session.add_torrent(params)
    while not handle.status().is_seeding:
        session.wait_for_alert(50)
        session.pop_alerts()
    print("ready", flush=True)
else:
    print("ready", flush=True)
    peers = sys.stdin.readline().split()[1:]
    handle = session.add_torrent(params)
    for peer in peers:
        address, port = peer.rsplit(":", 1)
        handle.connect_peer((address, int(port)))

finished = kind == "seed"
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.torrent_finished_alert) and not finished:
            finished = True
            print("done", flush=True)
        elif alert.category() & lt.alert.category_t.error_notification:
            print(alert, file=sys.stderr, flush=True)
