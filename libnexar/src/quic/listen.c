/* quic/listen.c - listeners: accepted connections are wrapped and handed up.
 *
 * Owner: the accept event comes on the engine.  It judges nobody: the layer above chooses the configuration or refuses.
 * */
#include "base/mem.h"
#include "quic/internal.h"

#include <string.h>

struct nx_quic_listener {
    HQUIC handle;
    nx_quic_accept_fn accept;
    void *arg;
};

static QUIC_STATUS new_connection(struct nx_quic_listener *listener, QUIC_LISTENER_EVENT *event)
{
    const QUIC_NEW_CONNECTION_INFO *info = event->NEW_CONNECTION.Info;
    HQUIC handle = event->NEW_CONNECTION.Connection;
    struct nx_quic_config *config;
    struct nx_quic_conn *conn;
    QUIC_STATUS status;
    char alpn[32] = "";

    if (info->NegotiatedAlpnLength < sizeof(alpn))
        memcpy(alpn, info->NegotiatedAlpn, info->NegotiatedAlpnLength);
    if (nx_quic_conn_wrap(handle, (const struct sockaddr *)info->RemoteAddress, &conn) != NEXAR_OK)
        return QUIC_STATUS_OUT_OF_MEMORY;
    config = listener->accept(listener->arg, conn, alpn, (const struct sockaddr *)info->RemoteAddress, &conn->events,
                              &conn->arg);
    if (config == NULL) {
        conn->handle = NULL; /* MsQuic closes what is refused */
        nx_quic_conn_drop(conn);
        nx_quic_conn_drop(conn);
        return QUIC_STATUS_CONNECTION_REFUSED;
    }
    conn->silence.limit = config->silence;
    nx_quic_api()->SetCallbackHandler(handle, (void *)nx_quic_conn_callback, conn);
    status = nx_quic_api()->ConnectionSetConfiguration(handle, config->handle);
    if (QUIC_FAILED(status)) {
        nx_quic_api()->SetCallbackHandler(handle, NULL, NULL); /* MsQuic closes it, and would tell us */
        nx_quic_conn_lost(conn, status);
    }
    return status;
}

static QUIC_STATUS callback(HQUIC handle, void *context, QUIC_LISTENER_EVENT *event)
{
    (void)handle;
    return event->Type == QUIC_LISTENER_EVENT_NEW_CONNECTION ? new_connection(context, event) : QUIC_STATUS_SUCCESS;
}

nexar_status nx_quic_listen(const struct sockaddr *address, const char *const *alpn, size_t alpn_count,
                            nx_quic_accept_fn accept, void *arg, struct nx_quic_listener **out)
{
    struct nx_quic_listener *listener;
    QUIC_BUFFER names[4];
    QUIC_ADDR local = {0};
    QUIC_STATUS status;
    nexar_status st = nx_quic_open();

    *out = NULL;
    if (st != NEXAR_OK)
        return st;
    if (alpn_count > sizeof(names) / sizeof(names[0]))
        return nx_fail(NEXAR_EINVAL, "a listener takes at most 4 protocols");
    for (size_t i = 0; i < alpn_count; i++)
        names[i] = (QUIC_BUFFER){.Length = (uint32_t)strlen(alpn[i]), .Buffer = (uint8_t *)(uintptr_t)alpn[i]};
    memcpy(&local, address, nx_quic_address_size(address));
    listener = nx_calloc(1, sizeof(*listener));
    if (listener == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a listener");
    listener->accept = accept;
    listener->arg = arg;
    status = nx_quic_api()->ListenerOpen(nx_quic_registration(), callback, listener, &listener->handle);
    if (QUIC_SUCCEEDED(status))
        status = nx_quic_api()->ListenerStart(listener->handle, names, (uint32_t)alpn_count, &local);
    if (QUIC_FAILED(status)) {
        st = nx_quic_fail(status, "cannot listen");
        nx_quic_listener_close(listener);
        return st;
    }
    *out = listener;
    return NEXAR_OK;
}

void nx_quic_listener_address(struct nx_quic_listener *listener, struct sockaddr_storage *address)
{
    QUIC_ADDR local = {0};
    uint32_t size = sizeof(local);

    memset(address, 0, sizeof(*address));
    nx_quic_api()->GetParam(listener->handle, QUIC_PARAM_LISTENER_LOCAL_ADDRESS, &size, &local);
    memcpy(address, &local, sizeof(local));
}

void nx_quic_listener_close(struct nx_quic_listener *listener)
{
    if (listener == NULL)
        return;
    if (listener->handle != NULL)
        nx_quic_api()->ListenerClose(listener->handle);
    nx_free(listener);
}
