"""nginx as the inside web server: one page that is allowed, one that is not."""

CONFIGURATION = """
daemon off;
user root;
master_process off;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 256; }}
http {{
  log_format told '$request $status for=$http_x_forwarded_for proxy=$proxy_protocol_addr '
                  'trace=$http_traceparent';
  access_log {folder}/access.log told;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type text/plain;
  {servers}
}}
"""
SERVER = """
  server {{
    listen {address}:{port}{options};
    root {root};
    location / {{ try_files $uri =404; }}
  }}
"""


def start(run, host, address, sites, proxied=()):
    """Serves each of `sites`, port → {file name: text}; those in `proxied` want the PROXY protocol.
    `access()` is the access log."""
    import os
    from . import process
    folder = os.path.dirname(run.path("nginx", "x"))
    servers = ""
    for port, pages in sites.items():
        for name, text in pages.items():
            run.write(f"nginx/site{port}/{name}", text)
        options = " proxy_protocol" if port in proxied else ""
        servers += SERVER.format(address=address, port=port, root=f"{folder}/site{port}",
                                 options=options)
    os.chmod(folder, 0o777)
    path = run.write("nginx/nginx.conf", CONFIGURATION.format(folder=folder, servers=servers))
    started = run.start("nginx", ["nginx", "-e", "stderr", "-p", folder, "-c", path], host=host)
    for port in sites:
        run.wait("nginx listens", lambda port=port: process.port_open(host, address, port))

    def log():
        try:
            with open(f"{folder}/access.log", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""
    started.access = log
    return started
