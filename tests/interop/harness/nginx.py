"""nginx as the inside web server: one page that is allowed, one that is not."""

CONFIGURATION = """
daemon off;
user root;
master_process off;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
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
    listen {address}:{port};
    root {root};
    location / {{ try_files $uri =404; }}
  }}
"""


def start(run, host, address, sites):
    """Serves each of `sites`, port → {file name: text}; `log()` is the access log."""
    import os
    from . import process
    folder = os.path.dirname(run.path("nginx", "x"))
    servers = ""
    for port, pages in sites.items():
        for name, text in pages.items():
            run.write(f"nginx/site{port}/{name}", text)
        servers += SERVER.format(address=address, port=port, root=f"{folder}/site{port}")
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
