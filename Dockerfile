# Berth's image: the binary, the libraries it was linked with, certificates of the public authorities, and busybox for a shell.
# `scripts/image` puts these into a folder and builds; no other image is needed for it.
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin:/bin BERTH_DATA_DIR=/data BERTH_AGENT_DATA_DIR=/data
VOLUME /data
ENTRYPOINT ["berth"]
CMD ["server"]
