"""What Airflow shows and knows of this provider, as plain data.

Every Airflow process loads this module, some of them before the configuration exists, so it imports
nothing. A test holds the connection fields against ``settings/fields.py``.
"""

from __future__ import annotations

__all__ = [
    "get_provider_info",
]


def get_provider_info() -> dict[str, object]:
    """Return the provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-bloq",
        "name": "Bloq",
        "description": (
            "`Bloq Cloud <https://docs.bloq.com>`__: blockchain nodes, clusters and their JSON-RPC, "
            "with client keys from the connection, HashiCorp Vault or OpenBao."
        ),
        "integrations": [
            {
                "integration-name": "Bloq",
                "external-doc-url": "https://docs.bloq.com",
                "tags": ["service"],
            },
        ],
        "hooks": [
            {"integration-name": "Bloq", "python-modules": ["airflow_provider_bloq.hooks.bloq"]},
        ],
        "operators": [
            {
                "integration-name": "Bloq",
                "python-modules": [
                    "airflow_provider_bloq.operators.client_keys",
                    "airflow_provider_bloq.operators.clusters",
                    "airflow_provider_bloq.operators.connect",
                    "airflow_provider_bloq.operators.jsonrpc",
                    "airflow_provider_bloq.operators.nodes",
                ],
            },
        ],
        "sensors": [
            {
                "integration-name": "Bloq",
                "python-modules": [
                    "airflow_provider_bloq.sensors.chains",
                    "airflow_provider_bloq.sensors.connect",
                    "airflow_provider_bloq.sensors.nodes",
                ],
            },
        ],
        "triggers": [
            {
                "integration-name": "Bloq",
                "python-modules": [
                    "airflow_provider_bloq.triggers.chain_events",
                    "airflow_provider_bloq.triggers.wait",
                ],
            },
        ],
        "extra-links": [
            "airflow_provider_bloq.operators.links.BloqErrorLink",
            "airflow_provider_bloq.operators.links.BloqResultLink",
        ],
        "config": {
            "bloq": {
                "description": "What holds for all connections of the type ``bloq``.",
                "options": {
                    "docs_url": {
                        "description": (
                            "Where the documentation of this provider is published for those who use this Airflow. "
                            "Tasks that fail then link to what their error means. Empty: they do not."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://docs.example.com/airflow-provider-bloq",
                        "default": "",
                    },
                },
            },
        },
        # Read by Airflow 3.2 and later.
        "cli": ["airflow_provider_bloq.cli.commands.get_cli_commands"],
        "asset-uris": [
            {"schemes": ["bloq"], "handler": "airflow_provider_bloq.assets.bloq.sanitize_uri"},
        ],
        # Airflow loads them only where the provider common-messaging is installed.
        "queues": [
            "airflow_provider_bloq.queues.bloq.BloqBlockQueue",
            "airflow_provider_bloq.queues.bloq.BloqAddressQueue",
            "airflow_provider_bloq.queues.bloq.BloqLogsQueue",
            "airflow_provider_bloq.queues.bloq.BloqConnectBlockQueue",
            "airflow_provider_bloq.queues.bloq.BloqPaymentQueue",
        ],
        "task-decorators": [
            {"name": "bloq", "class-name": "airflow_provider_bloq.decorators.bloq.bloq_task"},
        ],
        "connection-types": [
            {
                "connection-type": "bloq",
                "hook-class-name": "airflow_provider_bloq.hooks.bloq.BloqHook",
                "hook-name": "Bloq",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "host": "Accounts host or URL",
                        "login": "Client ID",
                        "password": "Client secret",
                        "port": "Port (443 unless the host names another)",
                    },
                    "placeholders": {
                        "host": "accounts.bloq.cloud",
                        "login": "leave empty to read it from Vault",
                        "password": "leave empty to read it from Vault",
                        "port": "443",
                    },
                },
                # No URL and no Vault field has a default: the form stores defaults nobody touched,
                # and a stored URL would beat the environment, a stored Vault id the inline keys.
                "conn-fields": {
                    "environment": {
                        "label": "Environment",
                        "description": "Sets all addresses of Bloq that are not given one by one.",
                        "schema": {
                            "type": ["string", "null"],
                            "enum": ["prod", "staging", "local"],
                            "default": "prod",
                        },
                    },
                    "vault_conn_id": {
                        "label": "Vault connection",
                        "description": (
                            "Airflow connection of type vault that the client keys are read through; "
                            "vault_default if a Vault path is given and this is empty."
                        ),
                        "schema": {"type": ["string", "null"]},
                    },
                    "vault_path": {
                        "label": "Vault path",
                        "description": (
                            "Path of the client keys below the mount, without data/. "
                            "Leave client ID and client secret empty then."
                        ),
                        "schema": {"type": ["string", "null"]},
                    },
                    "vault_id_field": {
                        "label": "Vault field of the client ID",
                        "description": "Empty: clientId or client_id.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "vault_key_field": {
                        "label": "Vault field of the client secret",
                        "description": "Empty: clientSecret or client_secret.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "sharing": {
                        "label": "Sharing of tokens",
                        "description": (
                            "task: each task has an access token of its own; "
                            "vault: all share one, through Vault."
                        ),
                        "schema": {
                            "type": ["string", "null"],
                            "enum": ["task", "vault"],
                            "default": "task",
                        },
                    },
                    "shared_vault_path": {
                        "label": "Vault path of the shared token",
                        "description": (
                            "With sharing: vault. Path below the mount (KV version 2) that nothing else uses. "
                            "Without client keys, the connection only reads there."
                        ),
                        "schema": {"type": ["string", "null"]},
                    },
                    "shared_vault_conn_id": {
                        "label": "Vault connection of the shared token",
                        "description": "Empty: the Vault connection of the client keys, or vault_default.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "nodes_url": {
                        "label": "Nodes URL",
                        "description": "Empty: the address of the environment.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "connect_url": {
                        "label": "Connect URL",
                        "description": (
                            "May hold {chain}, as in https://{chain}.connect.bloq.cloud. "
                            "Empty: the address of the environment."
                        ),
                        "schema": {"type": ["string", "null"]},
                    },
                    "connect_api_keys": {
                        "label": "Path keys of Connect",
                        "description": (
                            'Chain to path key, such as {"eth": "<key>"}, for JSON-RPC by Connect. Keys that are '
                            "not here are read from the fields connect_<chain> beside the client keys in Vault."
                        ),
                        "schema": {"type": ["object", "null"]},
                    },
                    "timeout": {
                        "label": "Timeout (seconds)",
                        "description": "For the connect and for each wait on an answer; 1 to 600.",
                        "schema": {
                            "type": ["number", "null"],
                            "minimum": 1,
                            "maximum": 600,
                            "default": 30,
                        },
                    },
                    "requests_per_second": {
                        "label": "Requests per second",
                        "description": (
                            "The most that one process sends through this connection, not counting those "
                            "for tokens. Empty: as many as it likes."
                        ),
                        "schema": {"type": ["number", "null"], "minimum": 0.01, "maximum": 1000},
                    },
                    "ca_bundle": {
                        "label": "CA bundle",
                        "description": (
                            "File or folder of CA certificates to trust instead of the usual ones, "
                            "on each machine that runs tasks."
                        ),
                        "schema": {"type": ["string", "null"]},
                    },
                    "node_tls": {
                        "label": "Certificates of nodes",
                        "description": (
                            "pinned: by fingerprint, as nodes sign their own; verify: by CA; "
                            "insecure: not checked at all."
                        ),
                        "schema": {
                            "type": ["string", "null"],
                            "enum": ["pinned", "verify", "insecure"],
                            "default": "pinned",
                        },
                    },
                    "node_fingerprints": {
                        "label": "Fingerprints of nodes",
                        "description": (
                            "Node id to SHA-256 fingerprints of its certificate, such as "
                            '{"node-1": ["9f:86:…"]}.'
                        ),
                        "schema": {"type": ["object", "null"]},
                    },
                    "rpc_origins": {
                        "label": "Origins for JSON-RPC",
                        "description": (
                            "Other origins, one per line, that may be shown the access token, "
                            "such as https://rpc.example.com:8545."
                        ),
                        "schema": {"type": ["array", "null"], "items": {"type": "string"}},
                    },
                },
            },
        ],
    }
