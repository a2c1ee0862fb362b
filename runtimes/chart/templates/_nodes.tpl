{{/* A block device mapping. Takes the device, the volume's values, and a size for a volume without one. */}}
{{- define "runtime.volume" -}}
deviceName: {{ .device }}
ebs:
  {{- with .volume }}
  encrypted: true
  deleteOnTermination: {{ .deleteOnTermination }}
  volumeType: {{ .volumeType }}
  {{- with .volumeSize | default $.size }}
  volumeSize: {{ . }}
  {{- end }}
  {{- if has .volumeType (list "gp3" "io1" "io2") }}
  iops: {{ .iops }}
  {{- end }}
  {{- if eq .volumeType "gp3" }}
  throughput: {{ .throughput }}
  {{- end }}
  {{- with .snapshotID }}
  snapshotID: {{ . }}
  {{- with $.volume.volumeInitializationRate }}
  volumeInitializationRate: {{ . }}
  {{- end }}
  {{- end }}
  {{- end }}
{{- end }}

{{/*
Bottlerocket pulls the layers of an image in parallel, onto the instance's own disks. A snapshot holds images in the
form of the other snapshotter, which has to stay then. https://bottlerocket.dev/en/os/1.53.x/api/settings/container-runtime-plugins
*/}}
{{- define "runtime.userData" -}}
{{- if and (eq .amiFamily "Bottlerocket") (not .dataVolume.snapshotID) }}
[settings.container-runtime]
snapshotter = "soci"

[settings.container-runtime-plugins.soci-snapshotter]
pull-mode = "parallel-pull-unpack"

[settings.container-runtime-plugins.soci-snapshotter.parallel-pull-unpack]
max-concurrent-downloads-per-image = 10
concurrent-download-chunk-size = "16mb"
max-concurrent-unpacks-per-image = 10
discard-unpacked-layers = true

# Karpenter binds the other folders. Instances without disks of their own have nothing to bind, and start all the same.
[settings.bootstrap-commands.soci-on-instance-store]
commands = [
    ["apiclient", "ephemeral-storage", "init"],
    ["apiclient", "ephemeral-storage", "bind", "--dirs", "/var/lib/soci-snapshotter"],
]
essential = false
mode = "always"
{{- end }}
{{- end }}
