"""Flask behind nginx: the application says who may have a film and who pays, nginx sends it.

Not a byte of the film passes through Python, so nginx's log and its sockets are metered instead.
Beside this program runs one for each host, with `DODO_PAYMENTS_API_KEY` and, for a server of your
own, `--url`:

    streamgauge nginx follow /var/log/nginx/media.log --event-name stream_consumption \
        --mode test_mode --port 80

In nginx, `log_format streamgauge ...` as `streamgauge nginx log-format` prints it, and:

    server {
        listen 80;
        access_log /var/log/nginx/media.log streamgauge;
        location / {
            proxy_pass http://127.0.0.1:9000;
            proxy_hide_header X-Streamgauge-Bill;
        }
        location /protected/ { internal; alias /srv/media/; }
    }
"""

import os

from flask import Flask, Response, abort, request
from werkzeug.serving import make_server

from streamgauge.nginx import bill_header

CUSTOMERS = {"token-of-ann": "customer_ann", "token-of-bob": "customer_bob"}
TITLES = {"film", "trailer"}

app = Flask(__name__)


@app.get("/video/<title>.mp4")
def video(title: str) -> Response:
    customer_id = CUSTOMERS.get(request.args.get("token", ""))
    if customer_id is None:
        abort(401)
    if title not in TITLES:
        abort(404)
    name, value = bill_header(customer_id=customer_id, metadata={"title": title})
    response = Response(mimetype="video/mp4")
    response.headers[name] = value
    response.headers["X-Accel-Redirect"] = f"/protected/{title}.mp4"
    return response


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(os.environ.get("PORT", "9000")), app, threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
