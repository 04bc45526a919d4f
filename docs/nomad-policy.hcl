# The least that batchbridge needs in a namespace. Put the name of yours in the place of "default":
#   nomad acl policy apply batchbridge docs/nomad-policy.hcl
#   nomad acl token create -policy batchbridge
namespace "default" {
  # submit and cancel, watch and explain, list, show what jobs print
  capabilities = ["submit-job", "read-job", "list-jobs", "read-logs"]

  # only for jobs with secrets: each has its own at nomad/jobs/<id>
  variables {
    path "nomad/jobs/*" {
      capabilities = ["write", "destroy"]
    }
  }
}

# To see which datacenter a job ran in:
#   node { policy = "read" }
# For jobs with volumes, beside that: "csi-mount-volume" above, and the rest of these.
#   plugin { policy = "read" }
#   host_volume "NAME" { capabilities = ["mount-readwrite"] }
